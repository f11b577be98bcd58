"""The gates that play: what two scorecards do not tell, found out in a lab.

Each takes a `workgym.factory.lab.Lab` as its fourth parameter. What each one claims and how often it errs
stands in docs/design/gates.md.
"""
