"""A start with a kept state: what was on screen last is there again before the module has run, and it
is never more than a picture."""
import os
import shutil
import unittest

import keeltest
from keeltest import build, content

SHOW = r"""
#include <keel/keel.h>
#include <keel/draw.h>
#include <unistd.h>
struct st { uint64_t count; int64_t pid; keel_handle image; };
#ifdef WAIT
/* Nothing of this build runs before the picture is there. */
__attribute__((constructor)) static void hold(void)
{
    for (int i = 0; i < 2000 && access("first.png", F_OK); i++)
        usleep(10000);
}
#endif
static int32_t start(keel *k) { keel_state(k, struct st); return 0; }
static void frame(keel *k, const struct keel_frame *f)
{
    struct st *s = keel_state(k, struct st);
    if (s->pid != getpid()) {
        static const uint32_t pixels[2] = {0xff2080ff, 0xff80ff20};
        s->image = keel_image_new(k, 2, 1, pixels);
        s->pid = getpid();
        keel_info(k, "build " BUILD " runs from count %d", (int)s->count);
    }
    s->count++;
#ifdef CRASH
    *(volatile int *volatile)0 = 1;
#endif
    keel_clear(k, COLOR);
    keel_rect(k, 40, 30, 100, 60, keel_linear(k, 40, 30, 0xff0000ff, 140, 90, 0x0000ffff));
    keel_image(k, s->image, 180, 30, 90, 60);
    keel_text(k, 40, 120, 20, 0xffffffff, "build " BUILD);
}
KEEL_MODULE("show", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
"""


def show(name, color, *flags):
    return build('#define BUILD "%s"\n#define COLOR %s\n%s' % (name, color, SHOW), flags=flags)


class Warm(keeltest.KeelTest):
    state_must_stay = True
    number = 0

    def setUp(self):
        super().setUp()
        self.env = dict(self.env, ASAN_OPTIONS="detect_leaks=0")  # the driver has its own
        Warm.number += 1
        self.slot = "v%dx%d" % (os.getpid(), Warm.number)
        self.place(show("one", "0x203040ff"), self.so())

    def tearDown(self):
        top = "/dev/shm/keel-%d" % os.geteuid()
        for x in os.listdir(top) if os.path.isdir(top) else []:
            if x.endswith("-" + self.slot):
                shutil.rmtree(os.path.join(top, x))
        super().tearDown()

    def so(self):
        return self.slot + ".so"

    def file(self):
        return self.path("st/%s.picture" % self.slot)

    def shown(self, *shots, args=("--frames", "12"), **more):
        """A host with a window that nobody sees; `shots`: pairs of frame and file."""
        words = [w for frame, file in shots for w in ("--screenshot-at", str(frame), file)]
        host = self.host(self.so(), "--state", "st", "--size", "320x200", *words, *args, **more)
        return host

    def first_run(self):
        host = self.shown((10, "last.png"))
        host.wait("build one runs|no window")
        if host.texts("no window"):
            host.exited(1)
            raise unittest.SkipTest("there is no OpenGL here")
        host.exited()
        self.assertTrue(os.path.exists(self.file()))
        self.assertEqual(os.stat(self.file()).st_mode & 0o777, 0o600)

    def test_before_the_module_has_run(self):
        self.first_run()
        self.place(show("two", "0x803040ff", "-DWAIT"), self.so())
        host = self.shown((0, "first.png"), (1, "second.png"),
                          args=("--frames", "3", "--trial", "off", "--trace-start"))
        host.wait("build two runs from count 12")
        host.exited()
        self.assertEqual(content(self.path("first.png")), content(self.path("last.png")))
        self.assertNotEqual(content(self.path("second.png")), content(self.path("last.png")))
        self.assertIn("the last picture is seen", host.stderr())

    def test_after_a_kill(self):
        self.first_run()
        os.unlink(self.file())
        host = self.shown((5, "any.png"), args=("--state-every", "0.05", "--fps", "100"))
        host.until(lambda: os.path.exists(self.file()), "the picture")
        host.kill()
        if os.path.lexists(host.socket_path):
            os.unlink(host.socket_path)
        host = self.shown((0, "again.png"), args=("--frames", "2"))
        host.exited()
        self.assertEqual(content(self.path("again.png")), content(self.path("last.png")))

    def test_a_build_that_cannot_run_leaves_it_standing(self):
        self.first_run()
        self.place(show("bad", "0x000000ff", "-DCRASH"), self.so())
        host = self.shown((0, "again.png"), args=("--frames", "3"))
        host.wait("waiting for a build that can run")
        host.exited(1)
        self.assertEqual(content(self.path("again.png")), content(self.path("last.png")))

    def test_a_damaged_one_is_not_shown(self):
        self.first_run()
        whole = content(self.file())
        for bad in (b"", b"junk" * 40, whole[:-8], whole[:200] + b"\xff\xff" + whole[202:]):
            with open(self.file(), "wb") as file:
                file.write(bad)
            host = self.shown((0, "none.png"), args=("--frames", "2"))
            told = host.wait("its last picture isn't shown: .*").group(0)
            self.sentence(told)
            host.exited()
            self.assertNotEqual(content(self.path("none.png")), content(self.path("last.png")))
        # and each time it was written anew
        host = self.shown((0, "again.png"), args=("--frames", "2"))
        host.exited()
        self.assertEqual(content(self.path("again.png")), content(self.path("last.png")))

    def test_a_window_of_another_size(self):
        self.first_run()
        host = self.host(self.so(), "--state", "st", "--size", "640x400", "--screenshot-at", "0",
                         "large.png", "--frames", "1")
        host.exited()
        self.assertGreater(os.path.getsize(self.path("large.png")), 500)

    def test_a_state_that_begins_anew_shows_nothing(self):
        self.first_run()
        os.unlink(self.path("st/%s.state" % self.slot))
        host = self.shown((0, "none.png"), args=("--frames", "2"))
        host.wait("build one runs from count 0")
        host.exited()
        self.assertNotEqual(content(self.path("none.png")), content(self.path("last.png")))


if __name__ == "__main__":
    keeltest.main()
