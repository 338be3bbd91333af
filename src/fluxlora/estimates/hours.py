"""How long each phase of a run takes on one offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxlora.estimates.speeds import CARDS, REFERENCE, Basis, Correction, Speed, speed_of
from fluxlora.estimates.work import Work
from fluxlora.vast.records import Offer

# Until sshd answers, where the image is at hand or arrives quickly; packages and environment; reading the weights.
BOOT_HOURS, INSTALL_HOURS, LOADING_HOURS = 0.1, 0.15, 0.1


# Caching, once a picture and once a caption, mostly reading and decoding.
SECONDS_PER_LATENT, SECONDS_PER_EMBED = 0.5, 0.15


# What the Hub gives and what a line at home takes, whatever the machine's own line is capable of.
DOWN_MBPS, UP_MBPS = 4000.0, 1000.0


@dataclass(frozen=True)
class Hours:
    """The phases of a run that are paid for."""

    boot: float
    download: float
    install: float
    caching: float
    training: float
    validation: float
    fetch: float

    @property
    def total(self) -> float:
        return self.start + self.training + self.validation + self.fetch

    @property
    def start(self) -> float:
        """Until the first step, which a retry pays again."""
        return self.boot + self.download + self.install + self.caching

    def stretched(self, *, start: float, line: float, compute: float) -> Hours:
        """The same phases where these parts take so many times as long."""
        return Hours(
            boot=self.boot * start,
            download=self.download * line,
            install=self.install * start,
            caching=self.caching * compute,
            training=self.training * compute,
            validation=self.validation * compute,
            fetch=self.fetch * line,
        )


def hours_of(offer: Offer, work: Work, speed: Speed) -> Hours:
    """The phases on this machine."""
    down = min(offer.inet_down_mbps or DOWN_MBPS, DOWN_MBPS)
    up = min(offer.inet_up_mbps or UP_MBPS, UP_MBPS)
    training = work.steps * speed.step_seconds(work, offer.num_gpus or 1) / 3600
    # Checkpoints leave while it trains; what is left at its end is waited for, the last one in any case.
    sending = transfer_hours(work.upload_gb, up)
    return Hours(
        boot=BOOT_HOURS,
        download=transfer_hours(work.download_gb, down),
        install=INSTALL_HOURS,
        caching=LOADING_HOURS + (work.latents * SECONDS_PER_LATENT + work.captions * SECONDS_PER_EMBED) / 3600,
        training=training,
        validation=work.validations * speed.draw_seconds(work) / 3600,
        fetch=max(sending - training, min(transfer_hours(work.checkpoint_gb, up), sending)),
    )


def least_hours(work: Work, own: Mapping[str, Correction] | None = None) -> float:
    """No offer is done sooner: the fastest card that exists, by the table and your own runs."""
    known = (speed_of(card.name, own=own) for card in CARDS)
    speed = max((speed for speed in known if speed), key=lambda speed: speed.tflops)
    anywhere = Offer(0, num_gpus=1, inet_down_mbps=DOWN_MBPS, inet_up_mbps=UP_MBPS)
    return hours_of(anywhere, work, speed).total


def reference_hours(work: Work, gpus: int) -> Hours:
    """Before there is an offer: on the table's reference card behind a line of a gigabit, which most hosts have."""
    speed = Speed(REFERENCE.tflops, REFERENCE.tflops, Basis.COMPUTED, 1.0)
    return hours_of(Offer(0, num_gpus=gpus, inet_down_mbps=1000.0, inet_up_mbps=1000.0), work, speed)


def transfer_hours(gigabytes: float, mbps: float) -> float:
    return gigabytes * 8000 / mbps / 3600


def redone_hours(work: Work, hours: Hours) -> float:
    """What a failure has to be done again: the start, and half of what lies between two checkpoints."""
    return hours.start + (hours.training * min(work.checkpoint_steps / work.steps, 1) / 2 if work.steps else 0)
