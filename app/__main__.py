"""python -m app: the studio on this machine. Flags, services, launch."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from app.serving.leaving import end_with_signals, leave
from app.serving.place import Place
from detdiffusion import bounds
from detdiffusion.core.arguments import DRAWING_DEVICE, add_device, out_folder
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device
from detdiffusion.diffusion.manifest import check_model
from detdiffusion.errors import DetDiffusionError, sentence, why

HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until interrupted. Exit code 2 with one line on standard error where it cannot start."""
    arguments = build_parser().parse_args(argv)
    _stay_offline(arguments.workspace)
    try:
        logins = tuple(arguments.auth or _auth_of_environment())
        names, root_path = tuple(arguments.allow_host or ()), arguments.root_path
        place = Place(arguments.host, arguments.port, logins, arguments.share, names, root_path)
        if arguments.mcp:
            _check_mcp()
        check_device(arguments.device, draws=True)
        check_model(arguments.model)
        _check_port(place)
        if warning := place.warning():
            print(f"warning: {warning}", file=sys.stderr)
        _serve(place, arguments)
    except (DetDiffusionError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The arguments of `python -m app`."""
    parser = argparse.ArgumentParser(
        prog="python -m app", description="The DetDiffusion studio: draw, tag, generate and compare."
    )
    parser.add_argument("--port", type=_port, default=7860, help="default 7860")
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default {HOST}: this machine alone)")
    parser.add_argument(
        "--auth",
        type=_login,
        action="append",
        metavar="NAME:PASSWORD",
        help="a login; may be repeated (or set DETDIFFUSION_AUTH, separated by spaces)",
    )
    parser.add_argument(
        "--share", action="store_true", help="open a public address through Gradio's tunnel (uses the network)"
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="serve MCP tools for agents at /gradio_api/mcp/ (pip install -r requirements-mcp.txt)",
    )
    parser.add_argument(
        "--workspace", type=out_folder, default=Path("workspace"), help="folder for images, layouts and runs"
    )
    parser.add_argument(
        "--allow-path",
        "--root",
        type=Path,
        action="append",
        metavar="DIR",
        help="a folder that the page may read, and that its Browse buttons show, besides the workspace; may be "
        "repeated (default: the current folder)",
    )
    parser.add_argument(
        "--allow-host",
        type=str.lower,
        action="append",
        metavar="NAME",
        help="a name by which the studio is reached besides localhost and --host, as behind a proxy; may be repeated",
    )
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="the path under which a proxy shows the studio, as /studio"
    )
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, help="model folder (default: the bundled one)")
    add_device(parser, DRAWING_DEVICE)
    return parser


def _login(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise argparse.ArgumentTypeError("a login needs to be NAME:PASSWORD")
    return name, password


def _auth_of_environment() -> list[tuple[str, str]]:
    """Passwords on a command line are seen by every process of the machine; in the environment they are not. They leave
    it here: no process that the studio starts has them."""
    try:
        return [_login(text) for text in os.environ.pop("DETDIFFUSION_AUTH", "").split()]
    except argparse.ArgumentTypeError as error:
        raise OSError(f"DETDIFFUSION_AUTH: {error}") from error


def _check_mcp() -> None:
    if find_spec("mcp") is None:
        raise OSError("--mcp needs another package: pip install -r requirements-mcp.txt")


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} needs to be a number from 1 to 65535")
    return int(text)


def _stay_offline(workspace: Path) -> None:
    """Before any library is imported: nothing here calls home, and uploads stay in the workspace."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str((workspace / "cache").resolve())


def _check_port(place: Place) -> None:
    with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.host, place.port))
        except socket.gaierror as error:
            raise OSError(f"host {place.host} is unknown ({why(error)}): give another --host") from error
        except OSError as error:
            raise OSError(
                f"port {place.port} cannot be used ({why(error)}): choose another with --port"
                + ("" if place.host == HOST else ", or another --host")
            ) from error


def _serve(place: Place, arguments: argparse.Namespace) -> None:
    end_with_signals()
    from app.engine.compute import Engine
    from app.engine.studio import open_studio
    from app.page import STYLES, Workspace, build, theme
    from app.serving.server import guarded, serve, tunnel
    from app.store.recovery import recover
    from detdiffusion.core.files import claim

    workspace, roots = arguments.workspace, arguments.allow_path or [Path.cwd()]
    studio = open_studio(arguments.model, workspace, engine=Engine(arguments.device), roots=roots)
    with claim(workspace / "studio.lock") as alone:
        if alone:  # another studio may be about to write the row of an image
            recover(studio.history)
        page = build(studio, Workspace.of(workspace, studio.places))
        page.queue(max_size=bounds.QUEUE_LENGTH, api_open=False)  # nobody passes those who wait
        app = guarded(
            page,
            place,
            mcp_server=arguments.mcp,
            show_error=False,
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            max_file_size=bounds.BODY_BYTES,
            theme=theme(),
            css_paths=STYLES,
            allowed_paths=[str(studio.pictures.resolve())],  # a workspace may lie anywhere; its runs are not served
        )

        def serving() -> None:
            shared = f", {tunnel(page, place)}" if place.share else ""
            print(f"Studio: {place.url}{shared}  (Ctrl+C stops it)", flush=True)

        serve(app, place, serving, studio.generation.close)
    leave()


if __name__ == "__main__":
    sys.exit(main())
