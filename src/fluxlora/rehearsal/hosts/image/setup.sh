#!/bin/sh
# Turns a Debian base into what a rented instance is: root, sshd, python, no systemd and no tmux. Arguments: packages.
set -eu
if ! { command -v sshd && command -v tini; } >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/*
fi
cp /setup/host-init.sh /usr/local/sbin/host-init
chmod 0755 /usr/local/sbin/host-init
cp /setup/sshd.conf /etc/ssh/sshd_config.d/rehearsal.conf
rm -f /etc/ssh/ssh_host_*
# A container has no audit session to join.
sed -i 's/required\( *pam_loginuid\)/optional\1/' /etc/pam.d/sshd
# The old date: else apt's cache_valid_time takes these empty lists for fresh ones.
mkdir -p /var/lib/apt/lists
touch -d @0 /var/lib/apt/lists
