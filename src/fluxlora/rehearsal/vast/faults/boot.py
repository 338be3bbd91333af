"""Faults of a rented machine before the first login."""

from __future__ import annotations

import asyncio

from fluxlora.rehearsal.vast.arming import Boot, boot_fault
from fluxlora.rehearsal.vast.instances import Fleet, Instance

ELSEWHERE = "It is destroyed, its machine is avoided for some time, and an offer of another machine is rented."
LOADING = "4c7d45f7c63c: Download complete"


@boot_fault("After `provision_boot_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def stuck_loading(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The image never finishes loading."""
    instance.shows_alone = True
    instance.becomes("loading", LOADING)
    await instance.gone.wait()


@boot_fault("Only the list counts: a null record does not mean that there is no instance.")
async def slow_to_show(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """For two seconds a request for only the new instance returns null, as if there were none."""
    await instance.pause(2)
    await boot()


@boot_fault(ELSEWHERE)
async def boot_fails(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The container cannot be created."""
    instance.shows_alone = True
    raise RuntimeError("Error response from daemon: failed to create task: OCI runtime create failed: unable to start")


@boot_fault(
    "It is destroyed and another machine is tried; if all fail, the message names the image. No machine is avoided."
)
async def image_missing(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The image cannot be pulled, because there is none of this name."""
    instance.shows_alone = True
    raise RuntimeError(f"Error response from daemon: manifest for {instance.image} not found: manifest unknown")


@boot_fault(ELSEWHERE)
async def exits_at_once(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The container ends as soon as it runs."""
    instance.shows_alone = True
    instance.becomes("loading", LOADING)
    await instance.pause(0.05)
    instance.becomes("exited", instance.running_message())


@boot_fault(ELSEWHERE)
async def goes_offline(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The host loses its connection to vast.ai while the image loads."""
    instance.shows_alone = True
    instance.becomes("offline", LOADING)


@boot_fault(ELSEWHERE)
async def status_unknown(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The host sends no heartbeat."""
    instance.shows_alone = True
    instance.becomes("unknown", LOADING)


@boot_fault(ELSEWHERE)
async def no_ports(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance runs, but has neither a port nor the proxy for ssh."""
    instance.shown.update(ports=None, ssh_host=None, ssh_port=None)
    await boot()


@boot_fault("After `provision_ssh_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def never_ssh(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance runs and publishes its port, which refuses every connection."""
    instance.relay.sealed = True
    await boot()


@boot_fault("After `provision_network_timeout_seconds` without an answer it is destroyed; its address is avoided, too.")
async def network_dead(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance runs and publishes its port, but never answers there."""
    instance.relay.deafen()
    await boot()


@boot_fault("fluxlora waits: a port that refuses connections shows that the machine is reachable.")
async def sshd_late(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """sshd starts two seconds later than on other instances."""
    instance.relay.sealed = True
    await boot()
    await instance.pause(2)
    await instance.relay.unseal()


@boot_fault("fluxlora waits: keys arrive late on an instance, on vast.ai up to three minutes.")
async def key_refused_a_while(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """For three seconds sshd does not accept the key."""
    keys = dict(instance.ssh_keys)
    instance.ssh_keys.clear()
    await boot()
    await instance.pause(3)
    instance.ssh_keys.update(keys)
    await asyncio.to_thread(fleet.hosts.authorize, instance.id, list(keys.values()))


@boot_fault("After `provision_ssh_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def key_never_let_in(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """sshd never accepts the key."""
    instance.ssh_keys.clear()
    await boot()
    await instance.gone.wait()


@boot_fault(ELSEWHERE)
async def small_disk(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance has a tenth of the disk that was rented."""
    instance.shown["disk_space"] = round(instance.letting.disk / 10, 2)
    await boot()


@boot_fault("It is destroyed at the next poll, the owner's machines are avoided for a day, and another is rented.")
async def price_raised(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance costs twice what the offer said."""
    offer = instance.letting.offer
    gpu_hour = 2 * offer["dph_base"]
    fleet.ledger.repriced(instance.id, gpu_hour=gpu_hour)
    instance.shown.update(dph_base=gpu_hour, dph_total=gpu_hour + offer["storage_total_cost"])
    await boot()
