/* Is a reading of one build that begins from that of another, byte for byte, the one that is made
 * from nothing? Both ways round, for pairs.py; says how many fingerprints were taken over. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/reading.h"

enum { ROOM = 64 << 20 };

typedef struct Made {
    void *data;
    size_t bytes;
    Reading reading;
} Made;

static void die(const char *what)
{
    fprintf(stderr, "after: %s\n", what);
    exit(2);
}

static void *map_file(const char *path, size_t *ret_bytes)
{
    struct stat st;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &st))
        die("no such image");
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED)
        die("no memory");
    *ret_bytes = (size_t)st.st_size;
    return data;
}

static Made make(const void *data, size_t bytes, const Made *before)
{
    Made made = {.data = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
    Error err = {0};
    if (made.data == MAP_FAILED)
        die("no memory");
    if (reading_make_after(data, bytes, before ? before->data : NULL, before ? before->bytes : 0,
                           made.data, ROOM, &made.bytes, &err) ||
        reading_check(made.data, made.bytes, &made.reading, &err))
        die(err.text);
    return made;
}

/* All but what the last part says of what it had from before. */
static int are_same(const Reading *a, const Reading *b)
{
    int same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++) {
        const ReadingPart *x = &a->parts[i], *y = &b->parts[i];
        size_t skip = x->tag == READING_SOURCES && !x->code ? sizeof(Sources) : 0;
        same = x->tag == y->tag && x->code == y->code && x->bytes == y->bytes &&
               !memcmp((const char *)x->data + skip, (const char *)y->data + skip, x->bytes - skip);
    }
    return same;
}

int main(int argc, char **argv)
{
    void *data[2];
    size_t bytes[2];
    unsigned taken = 0, parts = 0;
    if (argc != 3)
        die("after OLD.so NEW.so");
    for (int i = 0; i < 2; i++)
        data[i] = map_file(argv[i + 1], &bytes[i]);
    Made alone[2] = {make(data[0], bytes[0], NULL), make(data[1], bytes[1], NULL)};
    for (int i = 0; i < 2; i++) {
        Made after = make(data[i], bytes[i], &alone[!i]);
        if (!are_same(&after.reading, &alone[i].reading)) {
            printf("begun from that of the other, the reading of %s is another one\n", argv[i + 1]);
            return 1;
        }
        const Sources *s = reading_sources(&after.reading);
        taken += s ? s->taken : 0;
        parts += s ? s->parts : 0;
        munmap(after.data, ROOM);
    }
    printf("%u %u\n", taken, parts);
    return 0;
}
