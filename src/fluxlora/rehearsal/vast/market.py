"""A market of GPU machines with plausible prices, the same for the same seed.

Models, memory and compute capabilities are NVIDIA's; the prices are those of such machines on vast.ai in 2026.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from fluxlora.rehearsal.vast.query import matches, ordered

LETTINGS = 10_000  # an offer's id ends with the number of its rentals, so a rented one never comes back
HOURS_PER_MONTH = 720  # vast.ai's conversion of $/GB/month to $/h
SEARCH_CAP = 64  # a search never returns more offers, whatever its limit


@dataclass(frozen=True)
class Model:
    """A kind of GPU: memory in MB, compute capability x 100, $ per hour for one, TFLOPS, GB/s, watts."""

    name: str
    ram: int
    compute_cap: int
    price: float
    tflops: float
    dlperf: float
    bandwidth: float
    watts: float
    counts: tuple[int, ...]  # GPUs in each machine of this kind


MODELS = (
    Model("RTX 3060", 12288, 860, 0.06, 12.7, 9.6, 331.0, 170, (1, 2)),
    Model("RTX 3080", 10240, 860, 0.11, 29.8, 20.1, 685.0, 320, (1,)),
    Model("RTX 3090", 24576, 860, 0.16, 35.3, 28.4, 862.0, 350, (1, 1, 2, 4, 8)),
    Model("RTX 3090 Ti", 24564, 860, 0.19, 39.5, 31.2, 930.0, 450, (1,)),
    Model("RTX 4060 Ti", 16380, 890, 0.10, 22.0, 14.5, 272.0, 165, (1, 2)),
    Model("RTX 4070 Ti", 12282, 890, 0.13, 40.0, 23.0, 462.0, 285, (1,)),
    Model("RTX 4080", 16376, 890, 0.20, 48.5, 35.6, 657.0, 320, (1,)),
    Model("RTX 4090", 24564, 890, 0.36, 82.6, 101.3, 921.6, 450, (1, 1, 1, 2, 4, 8)),
    Model("RTX 5080", 16303, 1200, 0.27, 56.3, 62.0, 874.0, 360, (1,)),
    Model("RTX 5090", 32607, 1200, 0.53, 104.8, 151.2, 1526.0, 575, (1, 1, 2, 4, 8)),
    Model("RTX A4000", 16376, 860, 0.12, 19.2, 13.1, 384.0, 140, (1,)),
    Model("RTX A5000", 24564, 860, 0.19, 27.8, 22.2, 628.8, 230, (1, 4)),
    Model("RTX A6000", 49140, 860, 0.42, 38.7, 34.6, 651.0, 300, (1, 2, 4)),
    Model("RTX 6000Ada", 49140, 890, 0.66, 91.1, 84.5, 807.0, 300, (1, 2)),
    Model("RTX PRO 6000 WS", 97887, 1200, 0.98, 126.0, 163.0, 1560.0, 600, (1, 2)),
    Model("Tesla V100", 32768, 700, 0.22, 15.7, 22.9, 767.0, 300, (1, 4)),
    Model("L4", 23034, 890, 0.32, 30.3, 19.4, 253.0, 72, (1,)),
    Model("L40", 46068, 890, 0.60, 90.5, 72.0, 737.0, 300, (1,)),
    Model("L40S", 46068, 890, 0.68, 91.6, 86.7, 737.0, 350, (1, 4)),
    Model("A40", 46068, 860, 0.35, 37.4, 32.1, 595.0, 300, (1, 2)),
    Model("A100 PCIE", 40960, 800, 0.58, 19.5, 44.0, 1287.0, 250, (1, 2)),
    Model("A100 SXM4", 81920, 800, 0.86, 19.5, 60.1, 1687.0, 400, (1, 4, 8)),
    Model("H100 PCIE", 81559, 900, 1.87, 51.2, 120.0, 1726.0, 350, (1,)),
    Model("H100 SXM", 81559, 900, 2.05, 53.5, 187.0, 2682.0, 700, (1, 8)),
    Model("H100 NVL", 95830, 900, 1.95, 60.3, 160.0, 3350.0, 400, (1, 2)),
    Model("H200", 143771, 900, 2.66, 53.5, 214.0, 3900.0, 700, (1, 8)),
    Model("B200", 183359, 1000, 4.10, 74.5, 402.0, 6600.0, 1000, (1,)),
)

PLACES = (
    ("Oregon, US", 1.0),
    ("Texas, US", 1.0),
    ("Quebec, CA", 0.97),
    ("Norway, NO", 1.05),
    ("Sweden, SE", 1.04),
    ("Germany, DE", 1.1),
    ("Czechia, CZ", 0.98),
    ("Spain, ES", 1.0),
    ("Bulgaria, BG", 0.93),
    ("Japan, JP", 1.08),
    ("South Korea, KR", 0.99),
    ("Vietnam, VN", 0.85),
    ("Australia, AU", 1.12),
    (", US", 1.0),
)
PROCESSORS = (
    ("AMD Ryzen 9 7950X 16-Core Processor", 32, 4.5, "X670E"),
    ("AMD EPYC 7763 64-Core Processor", 128, 3.5, "ROME2D32GM"),
    ("AMD EPYC 9654 96-Core Processor", 192, 3.7, "GENOA2D24G"),
    ("Xeon® Gold 6248R", 96, 4.0, "X11DPG-OT-CPU"),
    ("Xeon® Platinum 8480+", 224, 3.8, "HGX H100"),
    ("Core™ i9-13900K", 32, 5.8, "Z790"),
)
DISKS = (("Samsung SSD 990", 6200.0), ("WD_BLACK SN850X", 5400.0), ("KIOXIA CD8", 3100.0), ("Samsung SSD 870", 520.0))
# cuda_max_good, driver_version, the driver as one number
DRIVERS = ((13.0, "580.95.05", 580095005), (13.0, "580.126.09", 580126009), (12.8, "570.86.15", 570086015))
OLD_DRIVER = (12.2, "535.183.01", 535183001)


@dataclass
class Machine:
    """One host of the market, and its free resources."""

    machine_id: int
    model: Model
    gpus: int
    facts: dict[str, Any]
    gpu_price: float
    disk: float  # GB
    free_gpus: int
    free_disk: float
    # How often each size was rented: the id of a rented offer is not used again.
    lettings: dict[int, int] = field(default_factory=dict)

    def sizes(self) -> list[int]:
        """Return the numbers of GPUs that are on offer."""
        return [size for size in (1, 2, 4, 8) if size <= self.free_gpus and self.gpus % size == 0]

    def offer_id(self, size: int) -> int:
        """Return the id of the offer of this many GPUs."""
        return (self.machine_id * 10 + size) * LETTINGS + self.lettings.get(size, 0)


@dataclass(frozen=True)
class Letting:
    """The resources that a rent took from a machine; `Market.release` returns them."""

    offer: dict[str, Any]
    machine_id: int
    gpus: int
    disk: float


class OfferGone(Exception):
    """The offer does not exist; `listed` says whether it ever was on this market."""

    def __init__(self, offer_id: int, *, listed: bool) -> None:
        super().__init__(f"offer {offer_id} is not available")
        self.listed = listed


class Market:
    """The machines and their offers."""

    def __init__(self, seed: int = 1, machines: int = 1) -> None:
        """Create a market with this many `machines` of each kind; with 1 the offers for one GPU fit into one answer."""
        chance = random.Random(seed)
        kinds = [(model, gpus) for model in MODELS for gpus in model.counts] * machines
        hosts = [_machine(chance, 10_007 + 37 * n, model, gpus) for n, (model, gpus) in enumerate(kinds)]
        self._machines = {machine.machine_id: machine for machine in hosts}

    def gpu_names(self) -> list[str]:
        """Return the names of all GPUs."""
        return sorted({machine.model.name for machine in self._machines.values()})

    def offers(self, *, storage: float, bid: bool = False) -> list[dict[str, Any]]:
        """Return all offers, with prices for this much storage (GB)."""
        return [
            _offer(machine, size, storage, bid=bid) for machine in self._machines.values() for size in machine.sizes()
        ]

    def search(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return vast.ai's answer to the body of a search, with at most 64 offers."""
        storage = float(query.get("allocated_storage", 8))  # GB; 8 is the API's default
        offers = self.offers(storage=storage, bid=query.get("type") in ("bid", "interruptible"))
        filters = {name: value for name, value in query.items() if isinstance(value, dict)}
        found = [offer for offer in offers if matches(_searchable(offer), filters)]
        order = [(column, direction) for column, direction in query.get("order") or [("score", "desc")]]
        limit = min(int(query.get("limit") or SEARCH_CAP), SEARCH_CAP)
        return [dict(offer) for offer in ordered(found, order)[:limit]]

    def take(self, offer_id: int, disk: float, *, bid: bool = False) -> Letting:
        """Rent out an offer with this much disk (GB); other offers of the same machine become smaller or
        disappear.

        Raises OfferGone; ValueError if the machine has less disk.
        """
        place, letting_number = divmod(offer_id, LETTINGS)
        machine, size = self._machines.get(place // 10), place % 10
        if not machine or size not in machine.sizes() or machine.offer_id(size) != offer_id:
            listed = machine is not None and letting_number <= machine.lettings.get(size, 0)
            raise OfferGone(offer_id, listed=listed)
        if disk > machine.free_disk:
            raise ValueError(f"{disk:g} GB asked for, {machine.free_disk:g} GB free")
        letting = Letting(_offer(machine, size, disk, bid=bid), machine.machine_id, size, disk)
        machine.free_gpus -= size
        machine.free_disk -= disk
        machine.lettings[size] = machine.lettings.get(size, 0) + 1
        return letting

    def release(self, letting: Letting) -> None:
        """Return a rent's resources to its machine."""
        machine = self._machines[letting.machine_id]
        machine.free_gpus += letting.gpus
        machine.free_disk += letting.disk


def _machine(chance: random.Random, machine_id: int, model: Model, gpus: int) -> Machine:
    place, dearness = chance.choice(PLACES)
    cpu_name, cores, ghz, board = chance.choice(PROCESSORS)
    disk_name, disk_bw = chance.choice(DISKS)
    blackwell = model.compute_cap >= 1000  # Blackwell needs CUDA 12.8
    cuda, driver, driver_number = chance.choice(DRIVERS[:2] if blackwell else (*DRIVERS, OLD_DRIVER))
    datacenter = model.price > 0.5 and chance.random() < 0.6
    traffic = chance.choice((0.0, 0.002, 0.003, 0.01, 0.02))  # $/GB
    disk = round(chance.choice((120, 260, 480, 900, 1800, 3600)) * chance.uniform(0.85, 1.1) * max(1, gpus / 2), 1)
    reliability = round(min(0.9999, chance.choice((0.91, 0.965, 0.985, 0.993, 0.998)) + chance.uniform(0, 0.006)), 7)
    now = time.time()
    facts = {
        "bw_nvlink": 300.0 if "SXM" in model.name and gpus > 1 else 0.0,
        "cpu_cores": cores,
        "cpu_ghz": ghz,
        "cpu_name": cpu_name,
        "cpu_ram": chance.choice((32_000, 64_216, 128_576, 257_670))
        * gpus,  # of the whole machine, whatever the offer's share is
        "cuda_max_good": cuda,
        "direct_port_count": 0 if chance.random() < 0.1 else chance.choice((9, 49, 99, 249)) * gpus,
        "disk_bw": round(disk_bw * chance.uniform(0.6, 1.0), 1),
        "disk_name": disk_name,
        "driver_version": driver,
        "driver_vers": driver_number,
        "end_date": round(now + chance.choice((2, 8, 30, 90, 240)) * 86_400, 1),
        "start_date": round(now - chance.choice((1, 20, 200)) * 86_400, 1),
        "geolocation": place,
        "host_id": 51_000 + machine_id % 977,
        "hosting_type": int(datacenter),
        "inet_down": round(chance.choice((95, 310, 720, 940, 2_400, 7_800)) * chance.uniform(0.8, 1.0), 1),
        "inet_down_cost": traffic,
        "inet_up": round(chance.choice((40, 250, 600, 900, 2_100, 6_500)) * chance.uniform(0.8, 1.0), 1),
        "inet_up_cost": traffic,
        "mobo_name": board,
        "pci_gen": chance.choice((3.0, 4.0, 5.0)),
        "pcie_bw": round(chance.choice((11.7, 24.9, 50.3)) * chance.uniform(0.8, 1.0), 1),
        "public_ipaddr": f"203.0.113.{machine_id % 250 + 1}",  # an address for documentation: leads nowhere
        "reliability": reliability,
        "static_ip": datacenter or chance.random() < 0.5,
        "storage_cost": round(chance.choice((0.07, 0.1, 0.15, 0.2, 0.3)), 3),
        "verification": "verified" if chance.random() < 0.85 else "unverified",
    }
    price = round(model.price * dearness * chance.uniform(0.85, 1.3), 4)
    return Machine(machine_id, model, gpus, facts, price, disk, gpus, disk)


def _offer(machine: Machine, size: int, storage: float, *, bid: bool) -> dict[str, Any]:
    """Return the API's record for `size` GPUs of a machine."""
    model, facts, share = machine.model, machine.facts, size / machine.gpus
    min_bid = round(machine.gpu_price * size * 0.55, 4)
    gpu_hour = min_bid if bid else round(machine.gpu_price * size, 4)
    disk_hour = facts["storage_cost"] * storage / HOURS_PER_MONTH
    total = gpu_hour + disk_hour
    dlperf, tflops = model.dlperf * size, model.tflops * size
    return {
        **facts,
        "id": machine.offer_id(size),
        "ask_contract_id": machine.offer_id(size),
        "bundle_id": machine.machine_id * 11 + size,
        "bundled_results": None,
        "compute_cap": model.compute_cap,
        "cpu_arch": "amd64",
        "cpu_cores_effective": facts["cpu_cores"] * share,
        "credit_discount_max": 0.4,
        "disk_space": round(machine.free_disk, 1),
        "dlperf": dlperf,
        "dlperf_per_dphtotal": dlperf / total,
        "dph_base": gpu_hour,
        "dph_total": total,
        "duration": facts["end_date"] - time.time(),
        "external": False,
        "flops_per_dphtotal": tflops / total,
        "geolocode": machine.machine_id,
        "gpu_arch": "nvidia",
        "gpu_display_active": False,
        "gpu_frac": share,
        "gpu_ids": [machine.machine_id * 10 + n for n in range(size)],
        "gpu_lanes": 16,
        "gpu_mem_bw": model.bandwidth,
        "gpu_name": model.name,
        "gpu_ram": model.ram,
        "gpu_total_ram": model.ram * size,
        "gpu_max_power": float(model.watts),
        "gpu_max_temp": 90.0,
        "has_avx": 1,
        "hostname": None,
        "is_bid": bid,
        "logo": "/static/logos/vastai_small2.png",
        "machine_id": machine.machine_id,
        "min_bid": min_bid,
        "num_gpus": size,
        "os_version": "22.04",
        "reliability_mult": 0.98,
        "rentable": True,
        "rented": False,
        "score": dlperf / total * facts["reliability"],
        "storage_total_cost": disk_hour,
        "total_flops": tflops,
        "vericode": 1,
        "vram_costperhour": gpu_hour / (model.ram * size),
        "webpage": None,
        "vms_enabled": False,
        "expected_reliability": facts["reliability"],
        "is_vm_deverified": False,
        "resource_type": "gpu",
        "cluster_id": None,
        "avail_vol_ask_id": None,
        "avail_vol_dph": None,
        "avail_vol_size": None,
        "nw_disk_min_bw": None,
        "nw_disk_max_bw": None,
        "nw_disk_avg_bw": None,
        "rn": 1,
        "dph_total_adj": total,
        "reliability2": facts["reliability"],
        "discount_rate": 0.0,
        "discounted_hourly": 0.0,
        "discounted_dph_total": total,
        "search": _hourly(gpu_hour, disk_hour),
        "instance": _hourly(0, disk_hour),
        "time_remaining": "",
        "time_remaining_isbid": "",
        "internet_up_cost_per_tb": facts["inet_up_cost"] * 1000,
        "internet_down_cost_per_tb": facts["inet_down_cost"] * 1000,
    }


def _hourly(gpu: float, disk: float) -> dict[str, float]:
    return {
        "gpuCostPerHour": gpu,
        "diskHour": disk,
        "totalHour": gpu + disk,
        "discountTotalHour": 0,
        "discountedTotalPerHour": gpu + disk,
    }


def _searchable(offer: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as a search compares them, which are not always those of the record."""
    return {
        **offer,
        "id": None,  # the live search matches no id; ask_contract_id works
        "geolocation": offer["geolocation"][-2:],
        "verified": offer["verification"] == "verified",
        "datacenter": offer["hosting_type"] == 1,
        "driver_version": offer["driver_vers"],
    }
