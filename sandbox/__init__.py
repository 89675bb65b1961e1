"""Stand-ins of the four services: an ASGI app that checks, answers in their words, and can be told to misbehave.

It needs the extra `prefect-whatsapp[sandbox]`. Start one with `prefect-whatsapp sandbox`, or in a test:

    from prefect_whatsapp.sandbox.server import RunningSandbox

    with RunningSandbox() as sandbox:
        sender = GraphCredentials(base_url=sandbox.graph_url, …)
"""
