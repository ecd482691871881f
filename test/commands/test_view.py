"""`perf-inference view`: what is shown, to whom, and that nobody waits for a browser."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'perf_inference[view]'")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from support.cases import sampled
from support.processes import Process, Ros, wait_until
from support.view_rig import LiveView, ask, table, tags

from perf_inference import cli
from perf_inference.commands.view.page import page
from perf_inference.commands.view.server import Server, Shown, listening
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import OK, WARN, key_values, timing_status
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m'


def heartbeat(name: str = "yolo_node", **values: Any) -> DiagnosticStatus:
    said = {"engine": "detector", "driven_by": "image", "inferences": 7, "rate_hz": 29.97, "latency_p50_ms": 8.04,
            "latency_p90_ms": None, "latency_max_ms": 41.26, "ledger.image.residual": 0, **values}  # fmt: skip
    return DiagnosticStatus(level=OK, name=name, message="running", hardware_id="host/1", values=key_values(said))


def image(number: int, width: int = 64) -> Image:
    """Return an image whose grey says which one it is."""
    return from_bgr(np.full((48, width, 3), number, np.uint8), Header())


def grey(jpeg: bytes) -> int:
    return int(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[10, 10, 0])


@pytest.fixture
def view(domain: int) -> Iterator[LiveView]:
    with LiveView() as live:
        yield live


# --- who is answered ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    shown = Shown()
    served = Server(listening(0), shown, page, 15.0)
    shown.put("<p>here</p>", {})
    yield served
    served.close()


@pytest.mark.parametrize("path", ["", "panel", "image?topic=/annotated"])
@pytest.mark.parametrize("token", ["wrong", "%ff%00", "", "../x"])
def test_without_the_token_nothing_is_answered(server: Server, path: str, token: str) -> None:
    answer = ask(server, path, token=token or None) if token else ask(server, path + "?" * ("?" not in path), token="")
    assert answer.status == 403
    assert b"here" not in answer.body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "[::2]",
        "[",
        "evil@localhost",
        "localhost:1/x",
        "localhost.",
    ],
)
def test_a_name_of_somebody_else_leads_nowhere(server: Server, host: str) -> None:
    assert ask(server, "", Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:1", "[::1]:80", "LocalHost"])
def test_a_tunnel_with_another_port_is_answered(server: Server, host: str) -> None:
    assert ask(server, "", Host=host).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", ""])
def test_another_origin_is_refused(server: Server, origin: str) -> None:
    assert ask(server, "panel", Origin=origin).status == 403


def test_what_another_page_embeds_is_refused_and_a_link_is_not(server: Server) -> None:
    assert ask(server, "panel", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    assert ask(server, "", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    own = f"http://127.0.0.1:{server.port}"
    assert ask(server, "panel", Origin=own, Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_nothing_can_be_sent(server: Server, method: str) -> None:
    assert ask(server, "", method=method).status == 405


def test_nothing_is_kept_framed_or_told_to_others(server: Server) -> None:
    headers = ask(server, "").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.address.startswith(f"http://127.0.0.1:{server.port}/?token=")
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", server.port))


def test_more_requests_than_can_be_are_told_so(server: Server) -> None:
    """Each is held until there is news; a page that is open in many windows must not take all there is."""
    number = ask(server, "panel").headers["X-Number"]
    request = f"GET /panel?token={server.token}&after={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    held = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(70)]
    try:
        for one in held:
            one.sendall(request)
        first = [one.recv(12) for one in held]
    finally:
        for one in held:
            one.close()
    assert first.count(b"HTTP/1.1 503") >= 1
    assert set(first) <= {b"HTTP/1.1 503", b"HTTP/1.1 204"}
    assert wait_until(lambda: ask(server, "").status == 200)


# --- what is shown -----------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_heartbeat(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(DiagnosticStatus, "inference/status", STATUS_QOS)

    def row() -> dict[str, str]:
        publisher.publish(heartbeat())
        return table(view.panel(), "nodes").get("yolo_node", {})

    assert wait_until(row)
    assert row() == {
        "Hz": "30.0", "p50 ms": "8.0", "p90 ms": "-", "max ms": "41.3", "inferences": "7", "drops": "-",
        "residual": "0", "state": "running",
    }  # fmt: skip


def test_text_of_the_graph_is_text(ros: Ros, view: LiveView) -> None:
    captions = ros.node.create_publisher(String, "caption", 1)
    beats = ros.node.create_publisher(DiagnosticStatus, "inference/status", STATUS_QOS)
    statuses = ros.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    clean = tags(view.panel())

    def shown() -> bool:
        captions.publish(String(data=EVIL))
        beats.publish(heartbeat(name=EVIL, engine=EVIL))
        bad = DiagnosticStatus(level=WARN, name=EVIL, message=EVIL, hardware_id=EVIL, values=key_values({EVIL: EVIL}))
        statuses.publish(DiagnosticArray(status=[bad]))
        return view.panel().count("alert(1)") >= 6

    assert wait_until(shown)
    html = view.panel()
    assert tags(html) - clean <= {"blockquote", "details", "summary", "div", "table", "tbody", "b", "thead", "tr", "td",
                                  "th", "h2", "p"}  # fmt: skip
    assert "\x1b" not in html
    assert tags(view.ask("").text) & {"img"} == set()


def test_diagnostics_have_their_level_and_values(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    status = DiagnosticStatus(level=WARN, name="monitor_node: host", message="hot", hardware_id="h",
                              values=key_values({"temperature_degc": 91.5}))  # fmt: skip

    def row() -> dict[str, str]:
        publisher.publish(DiagnosticArray(status=[status]))
        return table(view.panel(), "diagnostics").get("monitor_node: host", {})

    assert wait_until(row)
    assert row() == {"level": "WARN", "message": "hottemperature_degc 91.5"}


def test_stages_are_the_medians_of_the_timings(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(DiagnosticArray, "inference/timing", TIMING_QOS)
    for seq in range(1, 20):
        record = {"node": "yolo_node", "engine": "e", "precision": "fp32", "device": "cpu", "seq": seq,
                  "received_ns": 10**18 + seq * 10**8, "infer_ms": float(seq), "decode_ms": 0.25}  # fmt: skip
        publisher.publish(DiagnosticArray(status=[timing_status(record, "host/1")]))
    assert wait_until(lambda: table(view.panel(), "stages") == {"yolo_node": {"infer": "10.0", "decode": "0.2"}})


# --- images ------------------------------------------------------------------------------------------------------


def _number(view: LiveView, after: str, publish: Callable[[], None]) -> tuple[str, bytes]:
    """Return number and JPEG of the next image that is shown, while one is published again and again."""
    found: list[tuple[str, bytes]] = []

    def got() -> bool:
        publish()
        answer = view.ask(f"image?topic=/annotated&after={after}")
        if answer.status == 200:
            found.append((answer.headers["X-Number"], answer.body))
        return bool(found)

    assert wait_until(got)
    return found[0]


def test_the_newest_image_wins_and_a_slow_browser_misses_the_rest(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    number, _ = _number(view, "0", lambda: publisher.publish(image(10)))
    feed = view.scene.feeds["/annotated"]
    for grey_value in (40, 80, 120):  # the browser is still drawing
        seen = feed.number

        def came(value: int = grey_value, seen: int = seen) -> bool:
            publisher.publish(image(value))
            return feed.number > seen

        assert wait_until(came)

    def newest_is_the_last() -> bool:  # an 80 that was sent twice may come after the first 120
        publisher.publish(image(120))
        newest, jpeg = _number(view, number, lambda: None)
        return int(newest) > int(number) + 2 and abs(grey(jpeg) - 120) <= 2

    assert wait_until(newest_is_the_last)
    assert len([each for each in view.scene.feeds.values() if each.number]) == 1


def test_images_are_subscribed_to_while_somebody_looks(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    assert wait_until(lambda: "/annotated" in view.scene.feeds)
    assert publisher.get_subscription_count() == 0
    view.ask("image?topic=/annotated")
    assert wait_until(lambda: view.ask("image?topic=/annotated") and publisher.get_subscription_count() == 1)
    assert wait_until(lambda: publisher.get_subscription_count() == 0)


def test_a_wide_image_is_sent_smaller(ros: Ros, view: LiveView) -> None:
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    _, jpeg = _number(view, "0", lambda: publisher.publish(image(200, width=2560)))
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (24, 1280, 3)


@pytest.mark.parametrize(
    "bad",
    sampled(
        [
            Image(height=4, width=4, encoding="32FC1", step=16, data=bytes(64)),
            Image(height=4000, width=4000, encoding="bgr8", step=12000, data=bytes(30)),
            Image(height=0, width=0, encoding="bgr8", step=0),
            Image(height=1, width=1, encoding="<b>", step=1, data=b"x"),
        ]
    ),
    ids=["depths", "too short", "empty", "unknown"],
)
def test_an_image_that_cannot_be_shown_says_why(ros: Ros, view: LiveView, bad: Image) -> None:
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    answers: list[Any] = []

    def refused() -> bool:
        publisher.publish(bad)
        answers.append(view.ask("image?topic=/annotated"))
        return answers[-1].status == 422

    assert wait_until(refused)
    assert answers[-1].body
    assert answers[-1].headers["Content-Type"].startswith("text/plain")


def test_compressed_images_are_shown_where_they_are_named(domain: int, ros: Ros) -> None:
    publisher = ros.node.create_publisher(CompressedImage, "front/image/compressed", 1)
    data = cv2.imencode(".png", np.full((48, 64, 3), 77, np.uint8))[1].tobytes()
    with LiveView(images=("front/image/compressed",)) as view:

        def shown() -> bool:
            publisher.publish(CompressedImage(format="png", data=data))
            answer = view.ask("image?topic=/front/image/compressed")
            return answer.status == 200 and abs(grey(answer.body) - 77) < 3

        assert wait_until(shown)


@pytest.mark.parametrize("topic", ["/nobody", "", "/annotated%00", "/rosout"])
def test_only_topics_of_images_are_read(view: LiveView, topic: str) -> None:
    assert view.ask(f"image?topic={topic}").status == 404


def test_a_rate_bounds_what_is_made(domain: int, ros: Ros) -> None:
    """However many browsers ask, and however often."""
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    with LiveView(rate_hz=2.0) as view:
        number, _ = _number(view, "0", lambda: publisher.publish(image(10)))
        begun_s = time.monotonic()
        for _ in range(2):
            number, _ = _number(view, number, lambda: publisher.publish(image(20)))
        assert time.monotonic() - begun_s > 0.9


def test_without_scripts_the_page_is_whole(ros: Ros, view: LiveView) -> None:
    ros.node.create_publisher(Image, "annotated", 1)
    there = f'src="image?topic=%2Fannotated&amp;token={view.server.token}"'
    assert wait_until(lambda: there in view.ask("").text)
    assert '<noscript><meta http-equiv="refresh"' in view.ask("").text


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_prints_its_address_and_ends(start_command: Callable[..., Process]) -> None:
    view = start_command("view")
    view.wait_for("open http://127.0.0.1:")
    assert view.stop() == 0
    assert "SIGINT: stopped" in view.output()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Give the test process its signals back after a command that ran in it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("flag", ["--port", "--foxglove"])
def test_a_port_that_is_taken_is_one_sentence(
    capsys: pytest.CaptureFixture[str], domain: int, own_signals: None, flag: str
) -> None:
    if flag == "--foxglove":
        pytest.importorskip("foxglove", reason="needs foxglove-sdk: pip install 'perf_inference[view]'")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main(["view", flag, str(port)]) == 78
    said = capsys.readouterr().err
    assert f"{flag} {port} on 127.0.0.1 cannot be had: Address already in use" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("package", "arguments"), [("aiohttp", ()), ("foxglove", ("--foxglove",))])
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    own_signals: None,
    package: str,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["view", *arguments]) == 78
    assert "which is not installed: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--image", "a b"),
        ("--image", "/"),
        ("--image", "1/x"),
        ("--namespace", "/a//b"),
    ],
)
def test_a_wrong_value_is_wrong_usage(capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["view", *wrong])
    assert ended.value.code == 2
    assert f"got '{wrong[1]}'" in capsys.readouterr().err
