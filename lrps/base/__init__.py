"""Foundations without a subject of their own: errors, durable files, locks, addresses, numbers as text.

Imports nothing else of lrps.
"""
