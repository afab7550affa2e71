"""Untimed reference model of both storage systems, and the one definition of the wire."""
