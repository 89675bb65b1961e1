"""Prefect 3 blocks, tasks and flows that broadcast WhatsApp voice notes, audio and contact cards.

Every send is a task run, and a ledger keeps who was to get what: after any crash, run it again; nobody is messaged
twice, nobody is forgotten, and each send whose outcome is unknown is named.
"""
