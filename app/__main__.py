"""python -m app: the studio on this machine. Flags, services, launch."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
MAX_UPLOAD = "10mb"
QUEUE_LENGTH = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until interrupted. Exit code 2 with one line on standard error where it cannot start."""
    arguments = build_parser().parse_args(argv)
    _stay_offline(arguments.workspace)
    from detdiffusion.errors import DetDiffusionError

    try:
        _check_port(arguments.port)
        _serve(arguments.port, arguments.workspace, arguments.model)
    except (DetDiffusionError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app", description="The DetDiffusion studio: draw a layout, tag it, generate it, compare."
    )
    parser.add_argument("--port", type=_port, default=7860, help="port on 127.0.0.1 (default 7860)")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="folder for what the studio makes")
    parser.add_argument(
        "--model", type=Path, default=ROOT / "assets/models/papercut", help="model folder (default: the bundled one)"
    )
    return parser


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


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from error


def _serve(port: int, workspace: Path, model: Path) -> None:
    from app.dataset_orders import PROOFS
    from app.evaluation_orders import PAGE
    from app.handlers import examples
    from app.jobs import Runs
    from app.page import STYLES, build, theme
    from app.services import Studio

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` closes as cleanly as Ctrl+C
    studio = Studio(model, workspace)
    try:
        evaluations = Runs(workspace / "evaluations", proofs=[PAGE])
        datasets = Runs(workspace / "datasets", proofs=PROOFS)
        page = build(studio, Runs(workspace / "runs"), evaluations, datasets, examples(ROOT / "assets/layouts"))
        page.queue(max_size=QUEUE_LENGTH)
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            show_error=False,
            ssr_mode=False,
            run_history=False,
            footer_links=[],
            max_file_size=MAX_UPLOAD,
            prevent_thread_lock=True,
            # No check that the page answers within 3 s: a busy machine, drawing the opening example, may take
            # longer, and Gradio would give up. That the server is up, it has waited for by then.
            _frontend=False,
            theme=theme(),
            css_paths=STYLES,
            allowed_paths=[str(studio.pictures.resolve())],  # a workspace may lie anywhere; its runs are not served
        )
        print(f"Studio: http://{HOST}:{port}  (Ctrl+C stops it)", flush=True)
        page.block_thread()
    finally:
        studio.close()


if __name__ == "__main__":
    sys.exit(main())
