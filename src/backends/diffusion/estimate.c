/* What a picture takes while it is made: the engine has one stage's compute buffer at a time (text encoders, a sampling step, the decoder), so the largest
 * counts. */
#include "backend.h"

#define MIB (UINT64_C(1) << 20)

/* One sampling step keeps the scores of a layer's attention (f32, heads × tokens²), some of its activations, and the encoded text. */
static uint64_t step_bytes(const cadre__diffusion_facts *facts, uint64_t pixels)
{
    uint64_t text = facts->family == CADRE__FAMILY_FLUX ? 256 : 2 * 77, tokens = pixels / 256 + text;
    return 4 * (facts->heads * tokens * tokens + 16 * tokens * facts->hidden + text * 4096);
}

/* Measured per pixel: the autoencoder's convolutions at full size unfold to 6,660 bytes, TAESD's to 1,925. A tile is at most 256 pixels wide and high, and half
 * of it overlaps. */
static uint64_t decoder_bytes(const cadre__diffusion_facts *facts, uint64_t pixels, bool tiling)
{
    if (tiling && pixels > 256 * 256) pixels = 256 * 256;
    return pixels * (facts->tiny ? 1925 : 6660);
}

uint64_t cadre__diffusion_picture_bytes(const cadre__diffusion_facts *facts, uint32_t width, uint32_t height, bool tiling)
{
    uint64_t pixels = (uint64_t)width * height;
    uint64_t most = (facts->t5 ? 256 : 16) * MIB; /* the text encoders */
    uint64_t step = step_bytes(facts, pixels), decoder = decoder_bytes(facts, pixels, tiling);
    if (step > most) most = step;
    if (decoder > most) most = decoder;
    /* The latents and the picture, as floats and as bytes; graphs and tensors of the host's side. */
    return most + pixels * 32 + 32 * MIB;
}
