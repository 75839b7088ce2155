"""A live session over the control socket: tweaks, single frames, going back in time."""
import os
import time

import keeltest
from keeltest import KeelTest, build, content
from test_dev import DevHost

SOURCE = r"""
#include <keel/keel.h>
struct live { uint64_t frames; int64_t last_ns; double dt_most; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct live *l = keel_state(k, struct live);
    double gravity = KEEL_TWEAK(k, gravity, 9.8, 0, 20);
    int fish = KEEL_TWEAK(k, fish, 12, 1, 99);
    int trails = KEEL_TWEAK_SWITCH(k, trails, 1);
    uint32_t sky = KEEL_TWEAK_COLOR(k, sky, 0x102030ff);
    l->frames++;
    if (f->dt > l->dt_most)
        l->dt_most = f->dt;
    keel_info(k, "%llu: g %g fish %d trails %d sky %08x after %.3f",
              (unsigned long long)l->frames, gravity, fish, trails, sky, f->dt);
}
KEEL_MODULE("live", "1.0", KEEL_ON(frame, frame))
"""


class Live(KeelTest):
    def live(self):
        return self.host(self.place(build(SOURCE), "live.so"))

    def tweaks(self, host):
        slots = host.call("tweak")["slots"]
        return {tweak["name"]: tweak for slot in slots for tweak in slot["tweaks"]}

    def test_tweaks_are_listed_and_set(self):
        host = self.live()
        host.wait("g 9.8 fish 12 trails 1 sky 102030ff")
        listed = self.tweaks(host)
        self.assertEqual(list(listed), ["gravity", "fish", "trails", "sky"])
        self.assertEqual([listed[name]["kind"] for name in listed],
                         ["real", "int", "switch", "color"])
        self.assertEqual((listed["gravity"]["least"], listed["gravity"]["most"]), (0, 20))
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "gravity=3.5", "fish=20",
                        "trails=off", "sky=#ff8800")
        self.assertEqual(ctl.returncode, 0, ctl.stderr)
        self.assertIn("(9.8 in the source)", ctl.stdout)
        host.wait("g 3.5 fish 20 trails 0 sky ff8800ff")
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "gravity=default")
        self.assertEqual(ctl.returncode, 0)
        host.wait("g 9.8 fish 20")
        host.end()

    def test_what_cant_be_set(self):
        host = self.live()
        host.wait("g 9.8")
        for argument, words in (
                ("gravitx=1", "no tweak is called gravitx: there are gravity,"),
                ("gravitx", "no tweak is called gravitx"),
                ("gravity=21", "gravity goes from 0 to 20, not to 21"),
                ("gravity=", "gravity is a number"),
                ("fish=1.5", "fish is a whole number, not 1.5"),
                ("trails=perhaps", "trails is on or off, not \"perhaps\""),
                ("sky=#12345g", "sky is a color"), ("sky=#12345", "sky is a color")):
            with self.subTest(argument):
                ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", argument)
                if argument == "gravity=":  # no value: nothing is set
                    self.assertEqual(ctl.returncode, 0)
                    continue
                self.assertEqual(ctl.returncode, 1, ctl.stdout)
                self.assertIn(words, ctl.stderr)
        for wrong in ({"set": 1, "value": "1"}, {"set": "gravity", "value": 1},
                      {"set": "", "value": "1"}):
            host.refused("tweak", **wrong)
        self.assertEqual(self.tweaks(host)["gravity"]["value"], 9.8)
        host.end()

    def test_a_set_value_survives_a_swap_and_a_new_default_wins(self):
        host = self.live()
        host.wait("g 9.8")
        host.call("tweak", set="gravity", value="3")
        host.call("tweak", set="fish", value="50")
        host.wait("g 3 fish 50")
        mark = host.mark()
        self.place(build(SOURCE.replace("gravity, 9.8", "gravity, 4.5")), "live.so")
        found = host.wait(r"(\d+): g 4.5 fish 50", after=mark)
        self.assertGreater(int(found.group(1)), 1)
        host.end()

    def test_a_step_is_one_frame(self):
        host = self.live()
        host.frames_pass()
        host.call("pause", on=True)
        before = host.status()["slots"][0]["frames"]
        self.assertEqual(host.call("frame-step")["paused"], True)
        self.assertEqual(host.status()["slots"][0]["frames"], before + 1)
        ctl = self.keel("ctl", "--socket", host.socket_path, "frame-step", "7")
        self.assertIn("stands still after frame", ctl.stdout)
        self.assertEqual(host.status()["slots"][0]["frames"], before + 8)
        self.quiet_frames(host, before + 8)
        # Its clock stood still, too: no frame saw the pause.
        mark = host.mark()
        host.call("pause", on=False)
        host.frames_pass(5)
        for text in host.texts(r"after \d", after=mark):
            self.assertLess(float(text.rsplit(" ", 1)[1]), 0.2, text)
        host.refused("frame-step", frames=0)
        self.assertEqual(self.keel("ctl", "--socket", host.socket_path, "frame-step", "x").returncode,
                         2)
        host.end()

    def quiet_frames(self, host, frames):
        time.sleep(0.3)
        self.assertEqual(host.status()["slots"][0]["frames"], frames)

    # ---- stored in the source

    def dev(self):
        os.makedirs(self.path("live"))
        with open(self.path("live/live.c"), "w") as f:
            f.write(SOURCE)
        host = DevHost(self, [self.path("live")])
        self.hosts.append(host)
        host.wait("g 9.8")
        return host

    def test_write_back(self):
        host = self.dev()
        host.call("tweak", set="gravity", value="3.5")
        host.wait("g 3.5")
        mark = host.mark()
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "--write-back")
        self.assertEqual(ctl.returncode, 0, ctl.stderr)
        self.assertRegex(ctl.stdout, r"live/live\.c:7: gravity is 3\.5 now")
        self.assertEqual(content(self.path("live/live.c")).decode(),
                         SOURCE.replace("gravity, 9.8", "gravity, 3.5"))
        host.wait("runs anew", after=mark)
        host.wait("g 3.5", after=mark)
        self.assertEqual(self.tweaks(host)["gravity"]["initial"], 3.5)
        host.end()

    def test_write_back_refuses_what_it_doesnt_know(self):
        host = self.dev()
        host.call("tweak", set="gravity", value="3.5")
        # Not built yet: another number stands there. The build is held up by a mistake.
        path = self.path("live/live.c")
        text = SOURCE.replace("gravity, 9.8", "gravity, 12.0").replace("l->frames++;", "l->frames+;")
        with open(path, "w") as f:
            f.write(text)
        host.wait("build failed")
        ctl = self.keel("ctl", "--socket", host.socket_path, "tweak", "--write-back")
        self.assertEqual(ctl.returncode, 1)
        self.assertIn("is 12.0 there, and 9.8 in the code that runs: build it first", ctl.stderr)
        self.assertEqual(content(path).decode(), text)
        host.end()


if __name__ == "__main__":
    keeltest.main()
