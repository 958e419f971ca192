"""Keepa's token fields, read out of an answer while it streams past."""

from gateway.keepa.envelope.fields import Envelope
from gateway.keepa.envelope.reader import EnvelopeReader, read_envelope

__all__ = ["Envelope", "EnvelopeReader", "read_envelope"]
