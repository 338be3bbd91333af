"""The rented hosts of a rehearsal: Linux containers with an sshd, by podman or docker."""
