//! The older service's tables as Diesel sees them, and by name, to tell them from others.

/// Its tables with their columns, as they are declared below.
pub(in crate::legacy) const COLUMNS: [(&str, &[&str]); 4] = [
    (
        "users",
        &[
            "id",
            "username",
            "email",
            "password_hash",
            "is_active",
            "is_verified",
            "created_at",
            "updated_at",
            "last_login_at",
        ],
    ),
    (
        "oauth_clients",
        &[
            "id",
            "client_id",
            "client_secret_hash",
            "name",
            "description",
            "is_confidential",
            "allowed_scopes",
            "allowed_grant_types",
            "access_token_lifetime",
            "refresh_token_lifetime",
            "is_active",
            "created_at",
            "updated_at",
        ],
    ),
    (
        "refresh_tokens",
        &[
            "id",
            "jti_hash",
            "user_id",
            "client_id",
            "scope",
            "expires_at",
            "revoked",
            "revoked_at",
            "parent_jti_hash",
            "created_at",
        ],
    ),
    (
        "audit_logs",
        &[
            "id",
            "user_id",
            "client_id",
            "event_type",
            "event_data",
            "ip_address",
            "user_agent",
            "success",
            "error_message",
            "created_at",
        ],
    ),
];

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    users (id) {
        id -> Text,
        username -> Text,
        email -> Text,
        password_hash -> Text,
        is_active -> Bool,
        is_verified -> Bool,
        created_at -> LegacyTime,
        updated_at -> LegacyTime,
        last_login_at -> Nullable<LegacyTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Integer, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    oauth_clients (id) {
        id -> Text,
        client_id -> Text,
        client_secret_hash -> Nullable<Text>,
        name -> Text,
        description -> Nullable<Text>,
        is_confidential -> Bool,
        allowed_scopes -> Text,
        allowed_grant_types -> Text,
        access_token_lifetime -> Integer,
        refresh_token_lifetime -> Integer,
        is_active -> Bool,
        created_at -> LegacyTime,
        updated_at -> LegacyTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    refresh_tokens (id) {
        id -> Text,
        jti_hash -> Text,
        user_id -> Text,
        client_id -> Text,
        scope -> Text,
        expires_at -> LegacyTime,
        revoked -> Bool,
        revoked_at -> Nullable<LegacyTime>,
        parent_jti_hash -> Nullable<Text>,
        created_at -> LegacyTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::{LegacyJson, LegacyTime};

    audit_logs (id) {
        id -> Text,
        user_id -> Nullable<Text>,
        client_id -> Nullable<Text>,
        event_type -> Text,
        event_data -> Nullable<LegacyJson>,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        success -> Bool,
        error_message -> Nullable<Text>,
        created_at -> LegacyTime,
    }
}
