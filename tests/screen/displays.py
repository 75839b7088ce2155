"""Displays that tests start for themselves: an X server without a screen (Xvfb) with synthetic hands
(xdotool), and a Wayland compositor without one (sway). And what a screenshot holds."""
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenario"))
import keeltest  # noqa: E402


def lacking(*tools):
    """Ends the test program with status 77, which ctest shows as skipped, where a tool isn't there."""
    for tool in tools:
        if not shutil.which(tool):
            print("SKIPPED, NOTHING WAS TESTED: there is no %s; scripts/setup test installs it" % tool)
            sys.exit(77)


def picture(path):
    """Width, height and pixels of a PNG of 8-bit RGB."""
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


def light(pixel, left, top, right, bottom):
    """How bright a part of a picture is on average, 0 to 255."""
    total = sum(sum(pixel(x, y)) for y in range(top, bottom) for x in range(left, right))
    return total / (3 * (right - left) * (bottom - top))


class XServer:
    def __init__(self):
        read, write = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as told:
            self.display = ":" + told.readline().strip()
        self.x11 = ctypes.CDLL("libX11.so.6")
        self.x11.XOpenDisplay.restype = ctypes.c_void_p
        self.x11.XInternAtom.restype = ctypes.c_ulong

    def env(self, env):
        env = dict(env, DISPLAY=self.display, LC_ALL="C.UTF-8")
        env.pop("SDL_VIDEODRIVER", None)
        env.pop("WAYLAND_DISPLAY", None)
        return env

    def end(self):
        self.process.terminate()
        self.process.wait()

    def xdo(self, *args):
        return subprocess.run(["xdotool", *map(str, args)], env=self.env(os.environ), check=True,
                              capture_output=True, text=True, timeout=keeltest.PATIENCE).stdout.split()

    def key_for(self, character, code):
        """A key that types it: xdotool's own would be gone before SDL asks what it means."""
        display = ctypes.c_void_p(self.x11.XOpenDisplay(self.display.encode()))
        symbols = (ctypes.c_ulong * 2)(*[0x1000000 + ord(character)] * 2)
        self.x11.XChangeKeyboardMapping(display, code, 2, symbols, 1)
        self.x11.XCloseDisplay(display)

    def ask_to_close(self, window):
        """As a window manager does it; xdotool of this age can't."""
        class Message(ctypes.Structure):
            _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong),
                        ("send_event", ctypes.c_int), ("display", ctypes.c_void_p),
                        ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                        ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
                        ("room", ctypes.c_long * 24)]
        display = ctypes.c_void_p(self.x11.XOpenDisplay(self.display.encode()))
        message = Message(type=33, window=window, format=32,
                          message_type=self.x11.XInternAtom(display, b"WM_PROTOCOLS", 0))
        message.data[0] = self.x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
        self.x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
        self.x11.XCloseDisplay(display)


class Pointer:
    """A mouse of one's own at a wlroots compositor (zwlr_virtual_pointer_v1), in the bare protocol: no
    packaged tool has one."""
    DISPLAY, REGISTRY, CALLBACK, MANAGER, POINTER = 1, 2, 3, 4, 5

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(keeltest.PATIENCE)
        self.socket.connect(path)
        self.send(self.DISPLAY, 1, self.REGISTRY)
        self.send(self.DISPLAY, 0, self.CALLBACK)
        manager = None
        for name, interface in self.announced():
            manager = name if interface == "zwlr_virtual_pointer_manager_v1" else manager
        if manager is None:
            raise AssertionError("the compositor has no virtual pointers")
        wanted = b"zwlr_virtual_pointer_manager_v1\0"
        self.send(self.REGISTRY, 0, manager, len(wanted), wanted, 1, self.MANAGER)
        self.send(self.MANAGER, 0, 0, self.POINTER)

    def send(self, target, opcode, *words):
        body = b"".join(word.ljust(-len(word) // 4 * -4, b"\0") if isinstance(word, bytes) else
                        struct.pack("=I", word) for word in words)
        self.socket.sendall(struct.pack("=II", target, (8 + len(body)) << 16 | opcode) + body)

    def announced(self):
        """What the compositor has, until it has answered the callback."""
        rest = b""
        while True:
            while len(rest) >= 8 and len(rest) >= struct.unpack("=I", rest[4:8])[0] >> 16:
                target, word = struct.unpack("=II", rest[:8])
                body, rest = rest[8:word >> 16], rest[word >> 16:]
                if target == self.CALLBACK:
                    return
                if target == self.REGISTRY and word & 0xffff == 0:
                    name, length = struct.unpack("=II", body[:8])
                    yield name, body[8:8 + length - 1].decode()
            rest += self.socket.recv(65536)

    def end(self):
        self.socket.close()

    def now(self):
        return int(time.monotonic() * 1000) & 0xffffffff

    def to(self, x, y):
        self.send(self.POINTER, 1, self.now(), x, y, *Wayland.SIZE)
        self.send(self.POINTER, 4)

    def button(self, down):
        self.send(self.POINTER, 2, self.now(), 0x110, down)  # the left one, as the kernel counts them
        self.send(self.POINTER, 4)


class Wayland:
    """sway on a screen that nobody sees, drawn by the processor. It refuses to run as root."""
    SIZE = (1280, 720)
    CONFIG = "xwayland disable\ndefault_border none\noutput * bg #000000 solid_color\n"

    def __init__(self, folder):
        self.folder = os.path.join(folder, "wayland")
        os.mkdir(self.folder)
        config = os.path.join(self.folder, "config")
        with open(config, "w") as file:
            file.write(self.CONFIG)
        words = ["sway", "-c", config]
        if os.getuid() == 0:
            nobody = 65534
            os.chmod(folder, 0o711)
            os.chown(self.folder, nobody, nobody)
            words = ["setpriv", "--reuid=%d" % nobody, "--regid=%d" % nobody, "--clear-groups"] + words
        os.chmod(self.folder, 0o700)
        self.ipc = os.path.join(self.folder, "ipc")
        env = dict(os.environ, XDG_RUNTIME_DIR=self.folder, WLR_BACKENDS="headless", SWAYSOCK=self.ipc,
                   WLR_LIBINPUT_NO_DEVICES="1", WLR_RENDERER="pixman")
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            env.pop(name, None)
        with open(os.path.join(folder, "sway.log"), "w+") as log:
            self.process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            until = time.monotonic() + keeltest.PATIENCE
            while not (os.path.exists(self.ipc) and self.display()):
                if self.process.poll() is not None or time.monotonic() > until:
                    self.end()
                    log.seek(0)
                    raise AssertionError("sway doesn't begin: " + log.read())
                time.sleep(0.02)

    def display(self):
        return [os.path.join(self.folder, name) for name in os.listdir(self.folder)
                if name.startswith("wayland-") and not name.endswith(".lock")]

    def env(self, env):
        env = dict(env, WAYLAND_DISPLAY=self.display()[0], SDL_VIDEODRIVER="wayland", LC_ALL="C.UTF-8")
        env.pop("DISPLAY", None)
        return env

    def tell(self, command):
        """A command to the compositor, as its user's keys give it. A window may not be there yet."""
        until = time.monotonic() + keeltest.PATIENCE
        while True:
            done = subprocess.run(["swaymsg", "-s", self.ipc, command], capture_output=True, text=True,
                                  timeout=keeltest.PATIENCE)
            if not done.returncode:
                return
            if "No matching node" not in done.stdout or time.monotonic() > until:
                raise AssertionError("sway refuses %s: %s%s" % (command, done.stdout, done.stderr))
            time.sleep(0.05)

    def type(self, *args):
        """Keys with a keymap of their own, by wtype. The keyboard is gone again when they are typed, so
        it waits until it was seen."""
        subprocess.run(["wtype", "-s", "300", *args, "-s", "300"], check=True, timeout=keeltest.PATIENCE,
                       env=self.env(dict(os.environ, XDG_RUNTIME_DIR=self.folder)))

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
