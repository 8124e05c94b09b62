#include "search.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The sizes in which the needle is looked for, in percent. */
static const int sizes[] = { 100, 80, 64, 50 };

/* Sums of brightness and of its square over everything above and left of a place, so that both are known for any rectangle at once. */
struct sums {
	int stride;
	uint32_t *plain;
	uint64_t *square;
};

static struct sums sums_of(const struct image *im)
{
	struct sums s = { im->width + 1, NULL, NULL };
	size_t cells = (size_t)s.stride * (im->height + 1);
	s.plain = calloc(cells, sizeof *s.plain);
	s.square = calloc(cells, sizeof *s.square);
	if (!s.plain || !s.square) {
		fprintf(stderr, "imagesearch: out of memory\n");
		exit(1);
	}
	for (int y = 0; y < im->height; y++) {
		uint32_t plain = 0;
		uint64_t square = 0;
		for (int x = 0; x < im->width; x++) {
			size_t at = (size_t)(y + 1) * s.stride + x + 1;
			unsigned v = im->pixels[(size_t)y * im->width + x];
			plain += v;
			square += v * v;
			s.plain[at] = s.plain[at - s.stride] + plain;
			s.square[at] = s.square[at - s.stride] + square;
		}
	}
	return s;
}

static uint32_t correlate(const unsigned char *window, int stride, const struct image *needle)
{
	const unsigned char *n = needle->pixels;
	uint32_t sum = 0;
	for (int y = 0; y < needle->height; y++) {
		for (int x = 0; x < needle->width; x++)
			sum += window[x] * n[x];
		window += stride;
		n += needle->width;
	}
	return sum;
}

/* Tries every place of one row, and keeps the best so far. */
static void match_row(const struct image *photo, const struct sums *s, const struct image *needle, double mean, double spread, int y,
		      struct match *best)
{
	int w = needle->width, h = needle->height;
	double n = (double)w * h;
	for (int x = 0; x + w <= photo->width; x++) {
		size_t a = (size_t)y * s->stride + x, b = a + (size_t)h * s->stride;
		double plain = (uint32_t)(s->plain[b + w] - s->plain[b] - s->plain[a + w] + s->plain[a]);
		double square = (double)(s->square[b + w] - s->square[b] - s->square[a + w] + s->square[a]);
		double variance = square - plain * plain / n;
		if (variance < 9 * n)
			continue; /* flat: sky, walls */
		double product = correlate(photo->pixels + (size_t)y * photo->width + x, photo->width, needle);
		double score = (product - plain * mean) / (sqrt(variance) * spread);
		if (score > best->score)
			*best = (struct match){ x, y, w, h, score };
	}
}

static void match_size(const struct image *photo, const struct sums *s, const struct image *needle, struct match *best)
{
	double n = (double)needle->width * needle->height, plain = 0, square = 0;
	for (int i = 0; i < needle->width * needle->height; i++) {
		plain += needle->pixels[i];
		square += needle->pixels[i] * needle->pixels[i];
	}
	double spread = sqrt(square - plain * plain / n);
	if (spread == 0)
		return;
	for (int y = 0; y + needle->height <= photo->height; y++)
		match_row(photo, s, needle, plain / n, spread, y, best);
}

struct match search_photo(const struct image *photo, const struct image *needle)
{
	struct match best = { 0, 0, 0, 0, 0 };
	struct sums s = sums_of(photo);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		int w = needle->width * sizes[i] / 100, h = needle->height * sizes[i] / 100;
		struct image scaled;
		if (w < 4 || h < 4)
			break;
		image_scale(&scaled, needle, w, h);
		match_size(photo, &s, &scaled, &best);
		image_free(&scaled);
	}
	free(s.plain);
	free(s.square);
	return best;
}
