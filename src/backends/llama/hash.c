/* Which picture is it? SipHash-2-4 with 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF", and their reference code's 128-bit variant), with a
 * key that is made at random for each worker. */
#include "vision.h"

#include <string.h>
#include <uv.h>

typedef struct sip {
    uint64_t v0, v1, v2, v3;
    uint64_t length;
    unsigned char tail[8]; /* length % 8 bytes of it are filled */
} sip;

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void rounds(sip *s, int count)
{
    while (count-- > 0) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | bytes[i];
    return word;
}

static void mix(sip *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

static void start(sip *s, const cadre__llama_hash_key *key)
{
    s->v0 = key->half[0] ^ UINT64_C(0x736f6d6570736575);
    s->v1 = key->half[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
    s->v2 = key->half[0] ^ UINT64_C(0x6c7967656e657261);
    s->v3 = key->half[1] ^ UINT64_C(0x7465646279746573);
    s->length = 0;
}

static void take(sip *s, const unsigned char *bytes, size_t count)
{
    size_t filled = (size_t)(s->length % 8);
    s->length += count;
    if (filled > 0) {
        size_t more = count < 8 - filled ? count : 8 - filled;
        memcpy(s->tail + filled, bytes, more);
        if (filled + more < 8) return;
        mix(s, word_at(s->tail));
        bytes += more;
        count -= more;
    }
    for (; count >= 8; bytes += 8, count -= 8) mix(s, word_at(bytes));
    memcpy(s->tail, bytes, count);
}

static void end(sip *s, uint64_t out[2])
{
    memset(s->tail + s->length % 8, 0, 8 - (size_t)(s->length % 8));
    mix(s, word_at(s->tail) | s->length << 56);
    s->v2 ^= 0xee;
    rounds(s, 4);
    out[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
    s->v1 ^= 0xdd;
    rounds(s, 4);
    out[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

int cadre__llama_hash_key_make(cadre__llama_hash_key *key)
{
    return uv_random(NULL, NULL, key, sizeof(*key), 0, NULL) == 0 ? CADRE_OK : CADRE_EENGINE;
}

void cadre__llama_hash_image(const cadre__llama_hash_key *key, const cadre_image *image, uint64_t out[2])
{
    sip s;
    uint32_t size[2] = {image->width, image->height};
    start(&s, key);
    take(&s, (const unsigned char *)size, sizeof(size));
    for (uint32_t y = 0; y < image->height; y++) take(&s, image->pixels + y * image->stride, (size_t)image->width * 3);
    end(&s, out);
}
