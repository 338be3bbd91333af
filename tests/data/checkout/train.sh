#!/usr/bin/env bash
# Says how it was called, and prints the trainer's bar for as long as it is let.
printf '%s\n' "folder=$PWD" "updates_disabled=$DISABLE_UPDATES" "environment=$VIRTUAL_ENV" "python=$(command -v python)" \
    > called
for step in $(seq 1000); do
    printf '\rEpoch 1/1, Steps:   1%%|▏ | %s/1000 [00:01<00:02,  2.00it/s, lr=0.0001, step_loss=1.5]' "$step"
    sleep 1
done
exit 0
