"""Faults of a rented machine on its way to the first login."""

from __future__ import annotations

import asyncio

from fluxlora.rehearsal.vast.arming import Boot, boot_fault
from fluxlora.rehearsal.vast.instances import Fleet, Instance

ELSEWHERE = "It is destroyed, its machine is avoided for a while, and an offer of another machine is rented."
LOADING = "4c7d45f7c63c: Download complete"


@boot_fault("After `provision_boot_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def stuck_loading(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The image never finishes loading."""
    instance.shows_alone = True
    instance.becomes("loading", LOADING)
    await instance.gone.wait()


@boot_fault("Only the list counts: a null record is no sign that there is no instance.")
async def slow_to_show(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """For two seconds the look at the new instance alone shows null, as if there were none."""
    await instance.pause(2)
    await boot()


@boot_fault(ELSEWHERE)
async def boot_fails(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The container cannot be made."""
    instance.shows_alone = True
    raise RuntimeError("Error response from daemon: failed to create task: OCI runtime create failed: unable to start")


@boot_fault("It is destroyed and another machine tried; when all fail the image is named. No machine is blamed for it.")
async def image_missing(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The image cannot be pulled, for there is none of this name."""
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
    """The instance runs, and neither a port nor the proxy leads to it."""
    instance.shown.update(ports=None, ssh_host=None, ssh_port=None)
    await boot()


@boot_fault("After `provision_ssh_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def never_ssh(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance runs and publishes its port, which refuses for ever."""
    instance.relay.sealed = True
    await boot()


@boot_fault("After `provision_network_timeout_seconds` of silence it is destroyed; its address is avoided as well.")
async def network_dead(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance runs and publishes its port, and what is sent there is lost."""
    instance.relay.deafen()
    await boot()


@boot_fault("It is waited for: a port that refuses is a sign of life.")
async def sshd_late(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """sshd starts two seconds later than on others."""
    instance.relay.sealed = True
    await boot()
    await instance.pause(2)
    await instance.relay.unseal()


@boot_fault("It is waited for: keys reach an instance late, on vast.ai up to three minutes.")
async def key_refused_a_while(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """For three seconds sshd does not know the key."""
    keys = dict(instance.ssh_keys)
    instance.ssh_keys.clear()
    await boot()
    await instance.pause(3)
    instance.ssh_keys.update(keys)
    await asyncio.to_thread(fleet.hosts.authorize, instance.id, list(keys.values()))


@boot_fault("After `provision_ssh_timeout_seconds` it is destroyed, and an offer of another machine is rented.")
async def key_never_let_in(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """sshd never knows the key."""
    instance.ssh_keys.clear()
    await boot()
    await instance.gone.wait()


@boot_fault(ELSEWHERE)
async def small_disk(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance has a tenth of the disk that was rented."""
    instance.shown["disk_space"] = round(instance.letting.disk / 10, 2)
    await boot()


@boot_fault("It is destroyed within a look, the owner's machines are avoided for a day, and another is rented.")
async def price_raised(instance: Instance, boot: Boot, fleet: Fleet) -> None:
    """The instance costs twice what the offer said."""
    offer = instance.letting.offer
    gpu_hour = 2 * offer["dph_base"]
    fleet.ledger.repriced(instance.id, gpu_hour=gpu_hour)
    instance.shown.update(dph_base=gpu_hour, dph_total=gpu_hour + offer["storage_total_cost"])
    await boot()
