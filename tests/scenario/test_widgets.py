"""modules/widgets with synthetic hands, without a window: by `keel ctl input`. With one: tests/screen."""
import os

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


if __name__ == "__main__":
    keeltest.main()
