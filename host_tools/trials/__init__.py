"""Trials: short runs of the compiled gateware with random work and random faults.

A trial is a plain description (:mod:`.plan`) that a seed makes. Playing it (:mod:`.play`) gives the
same result at every time and on every machine, so a failure can be made smaller (:mod:`.shrink`),
written down and repeated. :mod:`.crew` plays thousands of them on many processors.
"""
