"""A window on a Wayland compositor (sway, on a screen that nobody sees, without a graphics card): it is drawn,
outlives swaps and faults, takes mouse and keys, follows its size and scale, and closing it ends the host, as
does a compositor that goes away."""
import os

from displays import Pointer, Wayland, lacking, picture

import keeltest
from keeltest import BUILD, Host, KeelTest
from test_widgets import FIELD, NOTE, RESET, SLIDER
from test_window import BLUE, RED, shown


class WaylandHost(Host):
    SCREEN = []


class OnWayland(KeelTest):
    def setUp(self):
        super().setUp()
        self.server = Wayland(self.dir)
        self.env = self.server.env(self.env)

    def tearDown(self):
        self.server.end()
        super().tearDown()

    def window_host(self, *args):
        host = WaylandHost(self, args)
        self.hosts.append(host)
        host.wait("generation 1")
        self.assertEqual(host.texts("no window"), [])
        return host

    def shot(self, host):
        path = self.path("shot.png")
        host.call("screenshot", file=path)
        return picture(path)

    def test_a_swap_keeps_the_window(self):
        path = self.place(shown(RED), "shown.so")
        host = self.window_host(path)
        host.until(lambda: self.shot(host)[0] == (1280, 720), "the size that the compositor gives")
        pixel = self.shot(host)[1]
        self.assertEqual((pixel(10, 10), pixel(639, 359)), ((255, 255, 255),) * 2)
        self.assertEqual((pixel(640, 10), pixel(10, 360), pixel(1279, 719)), (RED,) * 3)
        self.place(shown(BLUE), "shown.so")
        host.wait("generation 1 → 2")
        self.assertEqual(self.shot(host)[1](1279, 719), BLUE)
        crash = "if (s->frames % 40 == 0 && keel_run_mode(k) == KEEL_MODE_LIVE) *(volatile int *)8 = 1;"
        self.place(shown(RED, crash), "shown.so")
        host.wait("rolled back to 2")
        self.assertEqual(self.shot(host)[1](1279, 719), BLUE)
        host.frames_pass()
        host.end()

    def test_mouse_and_keys(self):
        host = self.window_host(os.path.join(BUILD, "modules", "widgets.so"))
        pointer = Pointer(self.env["WAYLAND_DISPLAY"])
        self.addCleanup(pointer.end)

        def click(x, y):
            pointer.to(x, y)
            host.frames_pass(2)
            for down in (1, 0):
                pointer.button(down)
                host.frames_pass(2)

        host.until(lambda: click(*NOTE) or host.texts("1: Sine of 2.00 Hz"), "the first click")
        click(*RESET)
        pointer.to(SLIDER[0] + 30, SLIDER[2])
        host.frames_pass(2)
        pointer.button(1)
        for x in range(190, 420, 40):
            pointer.to(x, 150)
            host.frames_pass(2)
        pointer.button(0)
        host.frames_pass(2)
        click(*NOTE)
        host.wait(r"\d+: Sine of 8.00 Hz")
        click(*FIELD)
        self.server.type("-k", "Home", "世界 ", "-s", "300", "-k", "Return")
        host.wait("Called 世界 Wave 波形 from now on.")
        host.end()

    def test_it_follows_its_size_and_closes(self):
        host = self.window_host(self.place(shown(RED), "shown.so"))
        self.server.tell("[app_id=.*] floating enable, resize set 500 300")
        host.until(lambda: self.shot(host)[0] == (500, 300), "a picture of the new size")
        pixel = self.shot(host)[1]
        self.assertEqual((pixel(249, 149), pixel(251, 149), pixel(499, 299)), ((255, 255, 255), RED, RED))
        self.server.tell("[app_id=.*] kill")  # the title bar's cross
        host.exited(expect=0)

    def test_a_screen_of_twice_the_pixels(self):
        self.server.tell("output * scale 2")
        host = self.window_host(self.place(shown(RED), "shown.so"))
        host.until(lambda: self.shot(host)[0] == (1280, 720), "the size that the compositor gives")
        self.server.tell("[app_id=.*] floating enable, resize set 500 300")
        host.until(lambda: self.shot(host)[0] == (1000, 600), "two pixels a logical pixel")
        pixel = self.shot(host)[1]
        self.assertEqual((pixel(499, 299), pixel(501, 299)), ((255, 255, 255), RED))
        host.end()

    def test_the_compositor_goes_away(self):
        host = self.window_host(self.place(shown(RED), "shown.so"), "--fps", "5")
        self.server.end()
        host.exited(expect=None)
        self.assertNotIn("fault", host.story())


if __name__ == "__main__":
    lacking("sway", "swaymsg", "wtype")
    if keeltest.SANITIZED:
        print("SKIPPED, NOTHING WAS TESTED: OpenGL drivers are not for sanitizers")
        raise SystemExit(77)
    keeltest.main()
