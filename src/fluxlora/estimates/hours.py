"""The hours of each phase of a run on one offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluxlora.estimates.speeds import CARDS, REFERENCE, Basis, Correction, Speed, speed_of
from fluxlora.estimates.work import Work
from fluxlora.vast.records import Offer

# Hours until sshd answers, if the image is present or arrives quickly; for packages and environment; for reading the
# weights.
BOOT_HOURS, INSTALL_HOURS, LOADING_HOURS = 0.1, 0.15, 0.1


# Hours for caching, per image and per caption, mostly for reading and decoding.
SECONDS_PER_LATENT, SECONDS_PER_EMBED = 0.5, 0.15


# Mbit/s that the Hub sends and that a user's connection receives, however fast the machine's own connection is.
DOWN_MBPS, UP_MBPS = 4000.0, 1000.0


@dataclass(frozen=True)
class Hours:
    """The paid phases of a run, in hours."""

    boot: float
    download: float
    install: float
    caching: float
    training: float
    validation: float
    fetch: float

    @property
    def total(self) -> float:
        """All phases together."""

        return self.start + self.training + self.validation + self.fetch

    @property
    def start(self) -> float:
        """The hours until the first step, which a retry costs again."""
        return self.boot + self.download + self.install + self.caching

    def stretched(self, *, start: float, line: float, compute: float) -> Hours:
        """Return the phases with some of them multiplied by a factor."""
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
    """Return the phases of a run on this machine."""
    down = min(offer.inet_down_mbps or DOWN_MBPS, DOWN_MBPS)
    up = min(offer.inet_up_mbps or UP_MBPS, UP_MBPS)
    training = work.steps * speed.step_seconds(work, offer.num_gpus or 1) / 3600
    # Checkpoints are downloaded during the training; the rest, and always the last one, afterwards.
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
    """Return the least hours on any offer: with the fastest card in the table, or in your own runs."""
    known = (speed_of(card.name, own=own) for card in CARDS)
    speed = max((speed for speed in known if speed), key=lambda speed: speed.tflops)
    anywhere = Offer(0, num_gpus=1, inet_down_mbps=DOWN_MBPS, inet_up_mbps=UP_MBPS)
    return hours_of(anywhere, work, speed).total


def reference_hours(work: Work, gpus: int) -> Hours:
    """Return the hours before there is an offer: on the reference card with a gigabit connection, as most hosts
    have."""
    speed = Speed(REFERENCE.tflops, REFERENCE.tflops, Basis.COMPUTED, 1.0)
    return hours_of(Offer(0, num_gpus=gpus, inet_down_mbps=1000.0, inet_up_mbps=1000.0), work, speed)


def transfer_hours(gigabytes: float, mbps: float) -> float:
    """Return the hours for this many GB at this rate."""
    return gigabytes * 8000 / mbps / 3600


def redone_hours(work: Work, hours: Hours) -> float:
    """Return the hours that a failure repeats: the start, and half of the time between two checkpoints."""
    return hours.start + (hours.training * min(work.checkpoint_steps / work.steps, 1) / 2 if work.steps else 0)
