/* WAV (RIFF): PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, one or two channels. Pure. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/decode.h"

enum { FORMAT_PCM = 1, FORMAT_FLOAT = 3, FORMAT_EXTENSIBLE = 0xfffe };

typedef struct Wav {
    uint32_t format, channels, rate, bits;
    const uint8_t *samples;
    size_t bytes;
} Wav;

static uint32_t u16(const uint8_t *at)
{
    return (uint32_t)(at[0] | at[1] << 8);
}

static uint32_t u32(const uint8_t *at)
{
    return u16(at) | u16(at + 2) << 16;
}

static int read_format(const uint8_t *chunk, size_t bytes, Wav *wav)
{
    if (bytes < 16)
        return 0;
    wav->format = u16(chunk);
    wav->channels = u16(chunk + 2);
    wav->rate = u32(chunk + 4);
    wav->bits = u16(chunk + 14);
    if (wav->format == FORMAT_EXTENSIBLE && bytes >= 26)
        wav->format = u16(chunk + 24); /* the first bytes of the subformat's GUID */
    return 1;
}

/* Finds the chunks. A size of data that recorders leave at 0 or at the most means: all that is
 * there. */
static int read_chunks(const uint8_t *file, size_t bytes, Wav *wav, Error *err)
{
    if (bytes < 12 || memcmp(file, "RIFF", 4) || memcmp(file + 8, "WAVE", 4))
        return err_set(err, KEEL_EDATA, "it is no WAV sound");
    for (size_t at = 12; bytes - at >= 8;) {
        const uint8_t *head = file + at;
        size_t size = u32(head + 4), left = bytes - at - 8;
        if (!memcmp(head, "data", 4)) {
            if (!wav->rate)
                return err_set(err, KEEL_EDATA, "its samples come before their format");
            if (size == 0 || size == UINT32_MAX)
                size = left;
            if (size > left)
                return err_set(err, KEEL_EDATA, "it is cut short: %zu of %zu bytes of samples",
                               left, size);
            wav->samples = head + 8;
            wav->bytes = size;
            return KEEL_OK;
        }
        if (size > left)
            break;
        if (!memcmp(head, "fmt ", 4) && !read_format(head + 8, size, wav))
            return err_set(err, KEEL_EDATA, "its format is cut short");
        at += 8 + size;
        if (size % 2 && at < bytes)
            at++;
    }
    return err_set(err, KEEL_EDATA, "it has no samples: it is cut short");
}

static int check(const Wav *wav, Error *err)
{
    int pcm = wav->format == FORMAT_PCM &&
              (wav->bits == 8 || wav->bits == 16 || wav->bits == 24 || wav->bits == 32);
    int real = wav->format == FORMAT_FLOAT && (wav->bits == 32 || wav->bits == 64);
    if (!pcm && !real)
        return err_set(
            err, KEEL_EUNSUPPORTED,
            "its samples (format %u, %u bits) can't be read: PCM of 8, 16, 24 or 32 bits "
            "and floats can",
            wav->format, wav->bits);
    if (wav->channels != 1 && wav->channels != 2)
        return err_set(err, KEEL_EUNSUPPORTED, "it has %u channels; one or two can be played",
                       wav->channels);
    if (wav->rate < ASSET_RATE_LEAST || wav->rate > ASSET_RATE_MOST)
        return err_set(err, KEEL_EUNSUPPORTED, "it has %u frames a second; %d to %d can be played",
                       wav->rate, ASSET_RATE_LEAST, ASSET_RATE_MOST);
    return KEEL_OK;
}

static float sample(const uint8_t *at, uint32_t format, uint32_t bits)
{
    float f;
    double d;
    if (format == FORMAT_FLOAT && bits == 32) {
        memcpy(&f, at, sizeof f);
        return isfinite(f) ? f : 0;
    }
    if (format == FORMAT_FLOAT) {
        memcpy(&d, at, sizeof d);
        return isfinite(d) && fabs(d) < 1e6 ? (float)d : 0;
    }
    if (bits == 8)
        return ((float)at[0] - 128) / 128;
    if (bits == 16)
        return (float)(int16_t)u16(at) / 32768;
    if (bits == 24)
        return (float)((int32_t)(u16(at) << 8 | (uint32_t)at[2] << 24) >> 8) / 8388608;
    return (float)((double)(int32_t)u32(at) / 2147483648.0);
}

int decode_wav(const void *data, size_t bytes, AssetWire *wire, void **ret_content, Error *err)
{
    Wav wav = {0};
    int rc = read_chunks(data, bytes, &wav, err);
    if (!rc)
        rc = check(&wav, err);
    if (rc)
        return rc;
    size_t width = wav.bits / 8, frame = width * wav.channels;
    uint64_t frames = wav.bytes / frame, count = frames * wav.channels;
    if (!frames)
        return err_set(err, KEEL_EDATA, "it has no samples");
    if (count * sizeof(float) > ASSET_CONTENT_MOST)
        return err_set(err, KEEL_ELIMIT, "it is too long: %d MiB of samples can be held",
                       ASSET_CONTENT_MOST >> 20);
    float *out = malloc((size_t)count * sizeof *out);
    if (!out)
        return err_set(err, KEEL_ENOMEM, "no memory for its samples");
    for (uint64_t i = 0; i < count; i++)
        out[i] = sample(wav.samples + i * width, wav.format, wav.bits);
    wire->channels = wav.channels;
    wire->rate = wav.rate;
    wire->frames = frames;
    wire->bytes = count * sizeof *out;
    *ret_content = out;
    return KEEL_OK;
}
