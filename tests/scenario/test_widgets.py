"""modules/widgets with synthetic hands: headless by `keel ctl input`, and on a real X server with a
window, where mouse and keys go the whole way through SDL."""
import ctypes
import os
import shutil
import struct
import subprocess
import unittest

import keeltest
from keeltest import BUILD, Host, KeelTest

WIDGETS = os.path.join(BUILD, "modules", "widgets.so")

# Places in modules/widgets: the panel lies at 24, 24; see keel/ui.h for the rows.
FIELD = (250, 82)
SLIDER = (151, 290, 120)  # from, to, y
NOTE, RESET = (114, 348), (273, 348)
HEARD = (205, 196)
LIST = (100, 284)  # the third line, "Square"


class Recording(Host):
    COMMAND = "record"


class Headless(KeelTest):
    def test_a_form_is_filled_in(self):
        host = self.host(WIDGETS)
        host.wait("generation 1 in")
        host.frames_pass(3)
        def hands(*steps):
            self.assertEqual(host.ask("input", steps=list(steps))["ok"], True)
        click = "click %d %d"
        hands(click % NOTE)
        host.wait("1: Sine of 2.00 Hz, Wave 波形")
        # A drag over several frames, and beyond the slider's end.
        hands("move %d %d" % (SLIDER[0] + 40, SLIDER[2]), "down", "frame",
              "move 260 130", "frame 2", "move 900 300", "frame", "up", "frame", click % NOTE)
        host.wait("2: Sine of 8.00 Hz")
        # Text: Chinese by an input method, then the clipboard.
        hands(click % FIELD, "frame", "key ctrl+a", "compose ni", "frame", "compose ", "text 你好",
              "frame", "key shift+home", "key ctrl+x", "frame 2", "text 世界 ", "key ctrl+v",
              "frame 3", "key enter", "frame")
        host.wait("Called 世界 你好 from now on.")
        hands(click % LIST, "frame", click % NOTE)
        host.wait("3: Square of 8.00 Hz, 世界 你好")
        hands(click % RESET, "frame", click % NOTE)
        host.wait("4: Sine of 2.00 Hz, Wave 波形")
        host.end()

    def test_a_drag_goes_on_over_a_swap(self):
        host = self.host(WIDGETS, "--no-watch")
        host.wait("generation 1 in")
        host.frames_pass(3)
        host.call("input", steps=["move 200 120", "down", "frame"])
        host.call("swap", slots=["widgets"], same=True)
        host.call("input", steps=["move 900 120", "frame", "up", "frame", "click %d %d" % NOTE])
        host.wait("of 8.00 Hz")
        host.end()

    def test_a_replay_comes_to_the_same(self):
        """Mouse, text, clipboard and the stream's samples are all in the recording."""
        journal = self.path("w.journal")
        host = Recording(self, [WIDGETS, "-o", journal])
        self.hosts.append(host)
        host.wait("generation 1 in")
        host.call("input", steps=[
            "click %d %d" % NOTE, "frame", "move 191 120", "down", "frame", "move 260 130",
            "frame 2", "up", "frame", "click %d %d" % HEARD, "click %d %d" % FIELD, "frame",
            "text 你好", "key ctrl+a", "frame", "key ctrl+x", "frame 2", "text z", "key ctrl+v",
            "frame 2", "key enter", "frame 20"])
        host.wait("Called")
        host.end()
        done = self.keel("replay", journal)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("the same state after every frame", done.stdout)
        os.unlink(journal)

    def test_nonsense_is_refused(self):
        host = self.host(WIDGETS)
        host.wait("generation 1 in")
        for steps, words in ((["fly"], "can't read the step \"fly\""), ([], "a list of strings"),
                             (["key hyper+x"], "keys are called"), ([7], "a step is a string"),
                             (["frame 20000"], "more than 10000 steps")):
            error = host.refused("input", steps=steps)
            self.assertIn(words, error["text"])
        self.assertIn("no slot is called nobody",
                      host.refused("input", slot="nobody", steps=["down"])["text"])
        host.end()


class Windowed(Host):
    SCREEN = ["--size", "960x430"]


@unittest.skipUnless(shutil.which("Xvfb") and shutil.which("xdotool"), "needs Xvfb and xdotool")
@unittest.skipIf(keeltest.SANITIZED, "OpenGL drivers are not for sanitizers")
class OnX(KeelTest):
    def setUp(self):
        super().setUp()
        read, write = os.pipe()
        self.server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as line:
            self.display = ":" + line.readline().strip()

    def tearDown(self):
        self.server.terminate()
        self.server.wait()
        super().tearDown()

    def key_for(self, character):
        """A key that types it: xdotool's own would be gone before SDL asks what it means."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        symbols = (ctypes.c_ulong * 2)(*[0x1000000 + ord(character)] * 2)
        x11.XChangeKeyboardMapping(display, 97, 2, symbols, 1)
        x11.XCloseDisplay(display)

    def x(self, *words):
        done = subprocess.run(["xdotool", *map(str, words)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "DISPLAY": self.display}, check=True)
        return done.stdout.strip()

    def window(self):
        self.key_for("水")
        env = {**self.env, "DISPLAY": self.display, "SDL_VIDEODRIVER": "x11", "LC_ALL": "C.UTF-8",
               "LIBGL_ALWAYS_SOFTWARE": "1", "SDL_AUDIODRIVER": "disk",
               "SDL_DISKAUDIOFILE": self.path("heard.raw"), "SDL_DISKAUDIODELAY": "10"}
        host = Windowed(self, [WIDGETS], env=env)
        self.hosts.append(host)
        host.wait("generation 1 in")
        host.frames_pass(3)
        window = self.x("search", "--sync", "--onlyvisible", "--pid", host.pid).split()[0]
        self.x("windowmove", "--sync", window, 0, 0)
        self.x("windowfocus", "--sync", window)
        return host, window

    def test_drag_type_resize_close(self):
        host, window = self.window()

        def to(x, y):
            self.x("mousemove", "--window", window, x, y)
            host.frames_pass(2)

        def click(x, y):
            to(x, y)
            self.x("mousedown", 1)
            host.frames_pass(2)
            self.x("mouseup", 1)
            host.frames_pass(2)

        click(*NOTE)
        host.wait("1: Sine of 2.00 Hz")
        to(SLIDER[0] + 30, SLIDER[2])
        self.x("mousedown", 1)
        for x in range(190, 420, 40):
            to(x, 150)
        self.x("mouseup", 1)
        host.frames_pass(2)
        click(*NOTE)
        host.wait("2: Sine of 8.00 Hz")
        click(*FIELD)
        self.x("key", "ctrl+a")
        self.x("type", "--delay", "20", "Wave 水 z")
        host.frames_pass(3)
        self.x("key", "Return")
        host.wait("Called Wave 水 z from now on.")
        picture = self.path("typed.png")
        host.call("screenshot", file=picture)
        self.assertGreater(os.path.getsize(picture), 5000)
        os.unlink(picture)
        self.listen(host, click)
        self.x("windowsize", "--sync", window, 800, 600)
        host.frames_pass(3)
        click(*RESET)
        click(*NOTE)
        host.wait("3: Sine of 2.00 Hz")
        # As a window manager asks a window to close.
        self.close(window)
        host.exited(0)

    def listen(self, host, click):
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

        click(*HEARD)
        host.until(lambda: os.path.exists(heard) and whole(), "a tenth of a second of sound")
        click(*HEARD)
        self.assertAlmostEqual(max(pieces[0]), 0.16, places=2)
        self.assertAlmostEqual(min(pieces[0]), -0.16, places=2)
        rises = sum(a < 0 <= b for a, b in zip(pieces[0], pieces[0][1:]))
        self.assertIn(rises, range(86, 91))  # 880 a second
        os.unlink(heard)

    def close(self, window):
        """WM_DELETE_WINDOW, which xdotool of this age can't send."""
        class Message(ctypes.Structure):
            _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong),
                        ("send_event", ctypes.c_int), ("display", ctypes.c_void_p),
                        ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                        ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
                        ("room", ctypes.c_long * 16)]
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        atom = [x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        message = Message(33, 0, 1, display, int(window), atom[0], 32, (atom[1], 0, 0, 0, 0))
        x11.XSendEvent(display, ctypes.c_ulong(int(window)), 0, 0, ctypes.byref(message))
        x11.XCloseDisplay(display)


if __name__ == "__main__":
    keeltest.main()
