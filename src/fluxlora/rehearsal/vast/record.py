"""An instance in the format of vast.ai's API."""

from __future__ import annotations

import time
from typing import Any

from fluxlora.rehearsal.vast.instances import Instance

# Values that the record copies from the rented offer, under the same name.
_FROM_OFFER = """
machine_id bundle_id host_id hosting_type end_date cpu_arch cpu_cores cpu_cores_effective cpu_name cpu_ram
gpu_name gpu_arch gpu_ram gpu_frac gpu_lanes gpu_mem_bw bw_nvlink disk_name disk_bw direct_port_count
static_ip geolocation verification rentable min_bid is_bid dlperf dlperf_per_dphtotal flops_per_dphtotal
total_flops score reliability2 os_version mobo_name pci_gen pcie_bw num_gpus webpage logo cuda_max_good
driver_version compute_cap inet_up inet_down inet_up_cost inet_down_cost search storage_cost storage_total_cost
vram_costperhour credit_discount_max external time_remaining time_remaining_isbid
"""


def record(instance: Instance) -> dict[str, Any]:
    """Return the row of the v1 list; the v0 record of one instance is the same."""
    offer, now = instance.letting.offer, time.time()
    running = instance.actual_status == "running"
    port = str(instance.relay.port)
    gpu_hour = offer["dph_base"] if instance.bid is None else instance.bid
    return {
        **{name: offer[name] for name in _FROM_OFFER.split()},
        "id": instance.id,
        "actual_status": instance.actual_status,
        "intended_status": instance.intended_status,
        "cur_state": instance.cur_state,
        "next_state": instance.intended_status,
        "label": instance.label,
        "template_id": None,
        "template_hash_id": None,
        "template_name": None,
        "image_uuid": instance.image,
        "image_args": [],
        "image_runtype": instance.runtype,
        "extra_env": [[name, str(value)] for name, value in instance.environment.items()],
        "onstart": instance.onstart,
        "jupyter_token": instance.key[::-1],
        "status_msg": instance.status_msg,
        "public_ipaddr": "127.0.0.1\n",  # vast.ai sends this line break, too
        "local_ipaddrs": "127.0.0.1 \n",
        "ssh_host": "127.0.0.1",  # vast.ai's proxy would be sshN.vast.ai, but a rehearsal must not leave the machine
        "ssh_idx": "1",
        # With a jupyter runtype the proxy's ssh is one port above the listed one.
        "ssh_port": instance.relay.port - ("jupyter" in instance.runtype),
        "machine_dir_ssh_port": 51_199,
        "start_date": instance.created,
        "uptime_mins": None,
        "duration": offer["end_date"] - now,
        "dph_base": gpu_hour,
        "dph_total": gpu_hour + offer["storage_total_cost"],
        "country_code": offer["geolocation"][-2:],
        "gpu_totalram": offer["gpu_total_ram"],
        "gpu_util": 0.0 if running else None,
        "gpu_temp": 39.0 if running else None,
        "cpu_util": 0.0,
        "mem_limit": offer["cpu_ram"] / 1024 if running else None,
        "mem_usage": 0.8 if running else None,
        "vmem_usage": 0.5 if running else None,
        "disk_space": instance.letting.disk,
        "disk_usage": 1.0 if running else -1,
        "disk_util": 0.05 if running else -1,
        "direct_port_start": -1,
        "direct_port_end": -1,
        "ports": (
            {"22/tcp": [{"HostIp": address, "HostPort": port} for address in ("0.0.0.0", "::")]}
            if instance.published and instance.direct
            else None
        ),
        "instance": offer["search"],
        "credit_balance": None,
        "credit_discount": None,
        "client_run_time": 1.1,
        "host_run_time": 259_200.0,
        "volume_info": [],
        **instance.shown,
    }
