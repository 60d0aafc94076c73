"""Sessions have an owner. Those of before belong to `system`, and so do those that a Runtime of before goes on making:
the column has a default, so that either version may be running when the schema changes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(sa.Column("user_id", sa.String(36), nullable=False, server_default="system"))
        sessions.create_index("ix_sessions_user_id", ["user_id"])


def downgrade() -> None:
    with op.batch_alter_table("sessions") as sessions:
        sessions.drop_index("ix_sessions_user_id")
        sessions.drop_column("user_id")
