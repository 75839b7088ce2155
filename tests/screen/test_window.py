"""A real window on a real X server (Xvfb): it outlives swaps and faults, follows its size, is shown
in screenshots, and ends the host when it is closed.

Exit status 77: there is no Xvfb or xdotool here; nothing was tested.
"""
import ctypes
import os
import shutil
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenario"))
import keeltest  # noqa: E402
from keeltest import Host, KeelTest, build  # noqa: E402

SOURCE = r"""
#include <keel/keel.h>
struct shown { uint64_t frames; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct shown *s = keel_state(k, struct shown);
    (void)f;
    s->frames++;
    keel_clear(k, %(color)s);
    keel_rect(k, 0, 0, keel_width(k) / 2, keel_height(k) / 2, 0xffffffff);
    %(more)s
}
KEEL_MODULE("shown", "1.0", KEEL_ON(frame, frame))
"""
RED, BLUE = (255, 0, 0), (0, 0, 255)


def shown(color, more=""):
    return build(SOURCE % {"color": "0x%02x%02x%02xff" % color, "more": more})


def picture(path):
    """Width, height and rows of a PNG of 8-bit RGB."""
    with open(path, "rb") as file:
        data = file.read()
    at, packed, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    raw, rows, before = zlib.decompress(packed), [], bytearray(size[0] * 3)
    for y in range(size[1]):
        start = y * (size[0] * 3 + 1)
        how, row = raw[start], bytearray(raw[start + 1:start + 1 + size[0] * 3])
        for i in range(len(row)):
            left = row[i - 3] if i >= 3 else 0
            corner = before[i - 3] if i >= 3 else 0
            up, guess = before[i], left + before[i] - corner
            near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up),
                       (abs(guess - corner), 2, corner))[2]
            row[i] = (row[i] + (0, left, up, (left + up) // 2, near)[how]) & 255
        rows.append(row)
        before = row
    return size, lambda x, y: tuple(rows[y][x * 3:x * 3 + 3])


class WindowHost(Host):
    SCREEN = ["--size", "320x200"]


class Window(KeelTest):
    def setUp(self):
        super().setUp()
        read, write = os.pipe()
        self.server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-nolisten", "tcp",
             "-noreset"],
            pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as told:
            self.display = ":" + told.readline().strip()
        self.env = dict(self.env, DISPLAY=self.display)
        self.env.pop("SDL_VIDEODRIVER", None)
        self.env.pop("WAYLAND_DISPLAY", None)

    def tearDown(self):
        super().tearDown()
        self.server.terminate()
        self.server.wait()

    def window_host(self, so, *args):
        path = self.place(so, "shown.so")
        host = WindowHost(self, [path, *args])
        self.hosts.append(host)
        host.wait("generation 1")
        return host, path

    def xdo(self, *args):
        return subprocess.run(["xdotool", *map(str, args)], env=self.env, check=True,
                              capture_output=True, text=True, timeout=60).stdout.split()

    def window(self):
        return int(self.xdo("search", "--sync", "--name", "^shown$")[0])

    def shot(self, host, name="shot.png"):
        path = os.path.join(self.dir, name)
        host.call("screenshot", file=path)
        return picture(path)

    def ask_to_close(self, window):
        """As a window manager does it."""
        class Message(ctypes.Structure):
            _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong),
                        ("send_event", ctypes.c_int), ("display", ctypes.c_void_p),
                        ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                        ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
                        ("room", ctypes.c_long * 24)]
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        message = Message(type=33, window=window, format=32,
                          message_type=x11.XInternAtom(display, b"WM_PROTOCOLS", 0))
        message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
        x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0),
                       ctypes.byref(message))
        x11.XCloseDisplay(display)

    def test_a_swap_keeps_the_window(self):
        host, path = self.window_host(shown(RED))
        window = self.window()
        (width, height), pixel = self.shot(host)
        self.assertEqual((width, height), (320, 200))
        self.assertEqual((pixel(10, 10), pixel(159, 99)), ((255, 255, 255),) * 2)
        self.assertEqual((pixel(160, 10), pixel(10, 100), pixel(319, 199)), (RED,) * 3)
        self.place(shown(BLUE), "shown.so")
        host.wait("generation 1 → 2")
        self.assertEqual(self.shot(host)[1](319, 199), BLUE)
        self.assertEqual(self.window(), window)
        self.assertEqual(host.slot()["generation"], 2)
        host.end()

    def test_a_crash_leaves_the_picture_of_the_frame_before(self):
        crash = "if (s->frames > 130) { keel_clear(k, 0x00ff00ff); *(volatile int *)8 = 1; }"
        host, _ = self.window_host(shown(RED, crash), "--trial=off")
        window = self.window()
        host.until(lambda: host.slot()["faults"] >= 3, "three faults")
        self.assertEqual(self.shot(host)[1](319, 199), RED)
        self.assertEqual(self.window(), window)
        host.end(expect=1)  # nothing runs any more

    def test_it_follows_its_size(self):
        host, _ = self.window_host(shown(RED))
        window = self.window()
        self.xdo("windowsize", "--sync", window, 500, 301)
        host.until(lambda: self.shot(host)[0] == (500, 301), "a picture of the new size")
        pixel = self.shot(host)[1]
        self.assertEqual((pixel(249, 149), pixel(251, 149), pixel(499, 300)),
                         ((255, 255, 255), RED, RED))
        host.end()

    def test_closing_it_ends_the_host(self):
        host, _ = self.window_host(shown(RED), "--fps", "0.2")
        self.ask_to_close(self.window())
        host.exited(expect=0)

    def test_two_pixels_a_logical_pixel(self):
        host, _ = self.window_host(shown(RED), "--scale", "2")
        size, pixel = self.shot(host)
        self.assertEqual(size, (640, 400))
        self.assertEqual((pixel(319, 199), pixel(320, 199)), ((255, 255, 255), RED))
        host.end()

    def test_what_is_in_the_way_of_a_screenshot(self):
        host, _ = self.window_host(shown(RED))
        error = host.refused("screenshot", file="/no/such/folder/x.png")
        self.assertIn("No such file or directory", error["text"])
        host.refused("screenshot", file="x.png")
        done = self.keel("ctl", "--socket", host.socket_path, "screenshot", "here.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(picture(os.path.join(self.dir, "here.png"))[0], (320, 200))
        host.end()

    def test_no_window_no_screenshot(self):
        host = self.host(self.place(shown(RED), "shown.so"))
        host.wait("generation 1")
        self.assertIn("--headless", host.refused("screenshot", file="/tmp/x.png")["text"])
        host.end()


if __name__ == "__main__":
    for tool in ("Xvfb", "xdotool"):
        if not shutil.which(tool):
            print("SKIPPED, NOTHING WAS TESTED: there is no %s; scripts/setup test installs it" % tool)
            sys.exit(77)
    keeltest.main()
