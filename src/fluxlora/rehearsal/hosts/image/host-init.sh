#!/bin/sh
# PID 1 of a host until tini replaces it. /run/rehearsal is what the rehearsal hands in, read-only.
set -eu
given=/run/rehearsal

# PID 1 alone has the rent's variables: a session over ssh sees only /etc/environment, as on vast.ai.
set -a
. "$given/pid1.env"
set +a

# A first boot, also of a disk that was copied from another instance.
if [ "$(cat /etc/ssh/instance 2>/dev/null)" != "$CONTAINER_ID" ]; then
    rm -f /etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C "$VAST_CONTAINERLABEL" -f /etc/ssh/ssh_host_ed25519_key
    cat "$given/environment" > /etc/environment
    cat "$given/onstart.sh" > /root/onstart.sh
    kept=/usr/local/share/ca-certificates/rehearsal.crt # update-ca-certificates adds what lies here again
    if [ -e "$given/ca-certificates.crt" ] && ! cmp -s "$given/ca-certificates.crt" "$kept"; then
        cp "$given/ca-certificates.crt" "$kept"
        cat "$kept" >> /etc/ssl/certs/ca-certificates.crt
    fi
    echo "$CONTAINER_ID" > /etc/ssh/instance
fi

mkdir -p /run/sshd
cd /root
timeout 60 bash /root/onstart.sh < /dev/null || echo "onstart.sh ended with $?"
# sshd writes its title over the environment it was started with, so it cannot be PID 1.
exec tini -- /usr/sbin/sshd -D -e -p "$(cat "$given/port")" -o ListenAddress=127.0.0.1
