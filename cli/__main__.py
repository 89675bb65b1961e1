"""`python -m prefect_whatsapp.cli`, the same as `prefect-whatsapp`."""

from .app import main

main()
