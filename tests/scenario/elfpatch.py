"""Small, deliberate damage to built modules."""
import struct

EI_CLASS, EI_DATA = 4, 5


def patch(data, offset, form, *values):
    out = bytearray(data)
    struct.pack_into(form, out, offset, *values)
    return bytes(out)


def machine(data, number):
    return patch(data, 18, "<H", number)


def elf_type(data, number):
    return patch(data, 16, "<H", number)


def elf_class(data, number):
    return patch(data, EI_CLASS, "B", number)


def big_endian(data):
    return patch(data, EI_DATA, "B", 2)


def note(data):
    """Where Keel's note has its words: abi, table size."""
    phoff, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, _, _, filesz = struct.unpack_from("<IIQQQQ", data, phoff + i * size)
        at, end = offset, offset + filesz
        while kind == 4 and at + 12 <= end:
            namesz, descsz, typ = struct.unpack_from("<III", data, at)
            name = data[at + 12:at + 12 + namesz]
            desc = at + 12 + (namesz + 3 & ~3)
            if name == b"Keel\0" and typ == 1:
                return desc
            at = desc + (descsz + 3 & ~3)
    raise ValueError("no Keel note")


def abi(data, major, minor):
    """Another ABI in the note, and in the table where it is the only such word."""
    return patch(data, note(data), "<I", major << 16 | minor)


def table_size(data, size):
    return patch(data, note(data) + 4, "<I", size)


def zeroed(data, first, last):
    return data[:first] + bytes(last - first) + data[last:]
