"""`quorate certs`: an authority for the cluster, and a certificate for each node, for mutual TLS between members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.outcome import EXIT_REFUSED, JsonOption, ending, print_json

FolderOption = Annotated[
    Path, typer.Option("--dir", help="Where the authority is and certificates are written.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]

certs = typer.Typer(no_args_is_help=True, help="Make certificates for TLS between members.")


@certs.command()
def ca(directory: FolderOption, overwrite: OverwriteOption = False, json_output: JsonOption = False) -> None:
    """Make the cluster's authority: ca.crt for every node, ca.key for nobody but you."""
    from consensus import CertificateError, make_authority  # here: the other commands start faster without it

    try:
        made = make_authority(directory, overwrite=overwrite)
    except CertificateError as error:
        raise ending(str(error), EXIT_REFUSED) from None
    _say(
        made,
        json_output,
        f"keep {made.key} off the nodes; next: quorate certs node HOST:PORT --dir {directory}",
    )


@certs.command()
def node(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The node's --listen.")],
    directory: FolderOption,
    overwrite: OverwriteOption = False,
    json_output: JsonOption = False,
) -> None:
    """Make the certificate of one node, signed by the authority in --dir."""
    from consensus import CertificateError, make_node_certificate

    try:
        made = make_node_certificate(directory, address, overwrite=overwrite)
    except CertificateError as error:
        raise ending(str(error), EXIT_REFUSED) from None
    _say(made, json_output, f"copy both and {directory / 'ca.crt'} to the node, into its --tls-dir")


def _say(made: Any, json_output: bool, next_step: str) -> None:
    if json_output:
        print_json(
            {
                "certificate": str(made.certificate),
                "key": str(made.key),
                "expires": made.expires.isoformat(),
                "replaced": made.replaced,
            }
        )
        return
    typer.echo(
        f"{'replaced' if made.replaced else 'made'} {made.certificate}, valid until {made.expires:%Y-%m-%d}"
    )
    typer.echo(f"{'replaced' if made.replaced else 'made'} {made.key}, its private key")
    typer.echo(next_step)
