/* A picture encoded with loss and without, and decoded. Argument: width. */
#include "data.h"
#include "webp/decode.h"
#include "webp/encode.h"

int main(int count, char **arguments) {
    int width = (int)argument(count, arguments, 256), height = width * 3 / 4;
    unsigned char *pixels = malloc((size_t)(width * height * 3)), *packed;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            unsigned char *pixel = pixels + (y * width + x) * 3;
            pixel[0] = (unsigned char)(x * y >> 5);
            pixel[1] = (unsigned char)((x ^ y) + (x * 7919 + y * 104729) % 13);
            pixel[2] = (unsigned char)(128 + (x - y) / 2);
        }
    for (int lossless = 0; lossless < 2; lossless++) {
        size_t size = lossless ? WebPEncodeLosslessRGB(pixels, width, height, width * 3, &packed)
                               : WebPEncodeRGB(pixels, width, height, width * 3, 75, &packed);
        int w, h;
        unsigned char *back = size ? WebPDecodeRGB(packed, size, &w, &h) : 0;
        if (!back || w != width || h != height) return 2;
        printf("%lu %08x\n", (unsigned long)size, (unsigned)check_sum(back, (size_t)(w * h * 3)));
        if (lossless && memcmp(back, pixels, (size_t)(w * h * 3)) != 0) return 3;
        WebPFree(back);
        WebPFree(packed);
    }
    return 0;
}
