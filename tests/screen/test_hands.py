"""Real mouse and keys, from the X server through SDL to modules and to what the host shows above them:
sparks follow the mouse, sliders are dragged, Chinese is typed, a window is resized and closed."""
import os
import shutil
import struct

from displays import XServer, lacking, light, picture

import keeltest
from keeltest import BUILD, Host, KeelTest, ROOT
from test_dev import DevHost
from test_widgets import FIELD, HEARD, NOTE, RESET, SLIDER

MODULES = os.path.join(BUILD, "modules")
CJK = "水木世"


class Shown(Host):
    SCREEN = ["--size", "960x430"]


class LiveShown(DevHost):
    SCREEN = ["--size", "960x540"]


class Hands(KeelTest):
    def setUp(self):
        super().setUp()
        self.server = XServer()
        for at, character in enumerate(CJK):
            self.server.key_for(character, 97 + at)
        self.env = dict(self.server.env(self.env), LIBGL_ALWAYS_SOFTWARE="1")

    def tearDown(self):
        self.server.end()
        super().tearDown()

    def shown(self, kind, *args, **env):
        """A host whose window is there, has the keys, and lies at the screen's corner."""
        host = kind(self, args, env=dict(self.env, **env))
        self.hosts.append(host)
        host.wait("generation 1 in")
        host.frames_pass(3)
        window = self.server.xdo("search", "--sync", "--onlyvisible", "--pid", host.pid)[0]
        self.server.xdo("windowmove", "--sync", window, 0, 0)
        self.server.xdo("windowfocus", "--sync", window)
        return host, int(window)

    def shot(self, host):
        path = self.path("shot.png")
        host.call("screenshot", file=path)
        found = picture(path)
        os.unlink(path)
        return found

    def to(self, host, x, y):
        self.server.xdo("mousemove", x, y)
        host.frames_pass(2)

    def press(self, host, *what):
        self.server.xdo(*what)
        host.frames_pass(2)

    def click(self, host, x, y):
        self.to(host, x, y)
        self.press(host, "mousedown", 1)
        self.press(host, "mouseup", 1)

    # ---- modules/sketch

    def sketch(self):
        """Its source is a copy: what is stored in it doesn't matter."""
        os.makedirs(self.path("sketch"))
        shutil.copy(os.path.join(ROOT, "modules", "sketch", "sketch.c"), self.path("sketch"))
        return self.shown(LiveShown, self.path("sketch"), "--deadline", "0")

    def tweak(self, host, name):
        return {t["name"]: t for t in host.call("tweak")["slots"][0]["tweaks"]}[name]

    def test_sparks_follow_the_mouse(self):
        host, _ = self.sketch()
        x, y = 800, 140  # no jet comes there by itself
        there = (x - 40, y - 40, x + 40, y + 40)
        self.to(host, x, y)
        dark = light(self.shot(host)[1], *there)
        self.press(host, "mousedown", 1)
        host.until(lambda: light(self.shot(host)[1], *there) > dark + 8, "sparks around the mouse")
        self.press(host, "mouseup", 1)
        # Let go, they fall; the right button keeps the others away.
        self.press(host, "mousedown", 3)
        host.until(lambda: light(self.shot(host)[1], *there) < dark + 4, "the sparks to be gone")
        self.press(host, "mouseup", 3)
        host.end()

    def test_a_slider_of_the_overlay_is_dragged(self):
        host, _ = self.sketch()
        left, right, wind = 650, 930, 182  # the panel is at the right, 16 from the edge
        self.press(host, "key", "F1")
        pixel = self.shot(host)[1]
        thumb = [x for x in range(left, right) if min(pixel(x, wind)) > 230]
        self.assertAlmostEqual(sum(thumb) / len(thumb), (left + right) / 2, delta=3)  # 0 of -300 to 300
        self.to(host, (left + right) // 2, wind)
        self.press(host, "mousedown", 1)
        for x in range(800, 870, 20):
            self.to(host, x, wind + 40)  # beside it: a drag goes on
        self.press(host, "mouseup", 1)
        value = self.tweak(host, "wind")["value"]
        self.assertAlmostEqual(value, (860 - left) / (right - left) * 600 - 300, delta=8)
        pixel = self.shot(host)[1]
        thumb = [x for x in range(left, right) if min(pixel(x, wind)) > 230]
        self.assertAlmostEqual(sum(thumb) / len(thumb), 860, delta=3)
        # What the panel took the module didn't see: no spark was pulled there. Then it is closed.
        self.press(host, "key", "F1")
        pixel = self.shot(host)[1]
        self.assertEqual([x for x in range(left, right) if min(pixel(x, 36)) > 230], [])
        self.assertEqual(self.tweak(host, "wind")["value"], value)
        host.end()

    def test_f3_held_goes_back(self):
        host, _ = self.sketch()
        host.until(lambda: host.slot()["frames"] > 90, "something to go back to")
        self.server.xdo("keydown", "F3")
        host.until(lambda: host.slot()["frames"] < 60, "an earlier frame")
        pixel = self.shot(host)[1]
        self.assertGreater(max(min(pixel(x, 36)) for x in range(240, 720)), 230)  # the way back, shown
        self.server.xdo("keyup", "F3")
        host.until(lambda: host.slot()["frames"] > 90, "the same frames once more")
        host.end()

    # ---- modules/widgets

    def test_drag_type_resize_close(self):
        host, window = self.shown(Shown, os.path.join(MODULES, "widgets.so"), SDL_AUDIODRIVER="disk",
                                  SDL_DISKAUDIOFILE=self.path("heard.raw"), SDL_DISKAUDIODELAY="10")
        self.click(host, *NOTE)
        host.wait("1: Sine of 2.00 Hz")
        self.to(host, SLIDER[0] + 30, SLIDER[2])
        self.press(host, "mousedown", 1)
        for x in range(190, 420, 40):
            self.to(host, x, 150)
        self.press(host, "mouseup", 1)
        self.click(host, *NOTE)
        host.wait("2: Sine of 8.00 Hz")
        self.types(host)
        self.listens(host)
        self.server.xdo("windowsize", "--sync", window, 800, 600)
        host.until(lambda: self.shot(host)[0] == (800, 600), "a picture of the new size")
        self.click(host, *RESET)
        self.click(host, *NOTE)
        host.wait("3: Sine of 2.00 Hz")
        self.server.ask_to_close(window)
        host.exited(0)

    def types(self, host):
        """Chinese into the field. Each character is to be seen: other pixels than before it."""
        field = [(x, y) for y in range(FIELD[1] - 12, FIELD[1] + 13) for x in range(110, 330)]
        self.click(host, *FIELD)
        self.press(host, "key", "ctrl+a")
        self.press(host, "type", "--delay", "20", "Wave ")
        inks = []
        for character in CJK + "z":
            self.press(host, "type", character)
            pixel = self.shot(host)[1]
            inks.append(sum(min(pixel(x, y)) > 150 for x, y in field))
        for ink, more in zip(inks, inks[1:]):
            self.assertGreater(more, ink)
        host.frames_pass(3)
        self.press(host, "key", "Return")
        host.wait("Called Wave %sz from now on." % CJK)

    def listens(self, host):
        """The wave, which is a sine of 8 * 110 Hz by now, as the audio device gets it."""
        heard, pieces = self.path("heard.raw"), []

        def whole():
            """A tenth of a second without a gap, as a busy machine may make some."""
            with open(heard, "rb") as file:
                raw = file.read()
            left = struct.unpack("<%df" % (len(raw) // 8 * 2), raw[:len(raw) // 8 * 8])[::2]
            pieces[:] = [left[at:at + 4800] for at in range(0, len(left) - 4800, 1200)
                         if not any(left[i] == left[i + 1] == 0 for i in range(at, at + 4800))]
            return pieces

        self.click(host, *HEARD)
        host.until(lambda: os.path.exists(heard) and whole(), "a tenth of a second of sound")
        self.click(host, *HEARD)
        self.assertAlmostEqual(max(pieces[0]), 0.16, places=2)
        self.assertAlmostEqual(min(pieces[0]), -0.16, places=2)
        rises = sum(a < 0 <= b for a, b in zip(pieces[0], pieces[0][1:]))
        self.assertIn(rises, range(86, 91))  # 880 a second
        os.unlink(heard)


if __name__ == "__main__":
    lacking("Xvfb", "xdotool")
    if keeltest.SANITIZED:
        print("SKIPPED, NOTHING WAS TESTED: OpenGL drivers are not for sanitizers")
        raise SystemExit(77)
    keeltest.main()
