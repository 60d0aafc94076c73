#!/bin/bash
# Run within namespaces of its own: a machine of a document's own. What is installed, written or listened on in it is not
# seen outside, and goes with it. Runs the commands that it is given.
set -eu

python3 - <<'END'
import fcntl, socket, struct
SET_FLAGS, UP = 0x8914, 1
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))
END
layers="$STAGE/layers"
mkdir "$layers"
mount -t tmpfs none "$layers"
for folder in /etc /opt /srv /usr /var; do
    mkdir -p "$layers$folder/above" "$layers$folder/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layers$folder/above,workdir=$layers$folder/work" "$folder"
done
mount -t tmpfs none /run
mkdir /run/lock
exec "$@"
