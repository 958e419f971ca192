"""Keepa's token fields, read out of an answer while it streams past."""

from gateway.envelope.fields import Envelope
from gateway.envelope.reader import EnvelopeReader, read_envelope

__all__ = ["Envelope", "EnvelopeReader", "read_envelope"]
