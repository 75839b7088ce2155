"""A real window on a real X server (Xvfb): it outlives swaps and faults, follows its size, is shown
in screenshots, and ends the host when it is closed.

Exit status 77: there is no Xvfb or xdotool here; nothing was tested.
"""
import os

from displays import XServer, lacking, picture

import keeltest
from keeltest import Host, KeelTest, build

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


class WindowHost(Host):
    SCREEN = ["--size", "320x200"]


class Window(KeelTest):
    def setUp(self):
        super().setUp()
        self.server = XServer()
        self.env = self.server.env(self.env)

    def tearDown(self):
        super().tearDown()
        self.server.end()

    def window_host(self, so, *args):
        path = self.place(so, "shown.so")
        host = WindowHost(self, [path, *args])
        self.hosts.append(host)
        host.wait("generation 1")
        return host, path

    def window(self):
        return int(self.server.xdo("search", "--sync", "--name", "^shown$")[0])

    def shot(self, host, name="shot.png"):
        path = os.path.join(self.dir, name)
        host.call("screenshot", file=path)
        return picture(path)

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
        self.server.xdo("windowsize", "--sync", window, 500, 301)
        host.until(lambda: self.shot(host)[0] == (500, 301), "a picture of the new size")
        pixel = self.shot(host)[1]
        self.assertEqual((pixel(249, 149), pixel(251, 149), pixel(499, 300)),
                         ((255, 255, 255), RED, RED))
        host.end()

    def test_closing_it_ends_the_host(self):
        host, _ = self.window_host(shown(RED), "--fps", "0.2")
        self.server.ask_to_close(self.window())
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
    lacking("Xvfb", "xdotool")
    keeltest.main()
