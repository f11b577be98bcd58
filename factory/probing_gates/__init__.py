"""The gates that play: what two scorecards do not tell, found out in a lab; importing this enters them.

Each takes a `workgym.factory.lab.Lab` as its fourth parameter. What each one claims and how often it errs
stands in docs/design/gates.md.
"""

from workgym.factory.probing_gates import exploits, fidelity, generalisation, robustness, serving

__all__ = ["exploits", "fidelity", "generalisation", "robustness", "serving"]
