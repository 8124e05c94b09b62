#include "image.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { max_side = 8192 };

static void *allocate(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (!p) {
		fprintf(stderr, "imagesearch: out of memory\n");
		exit(1);
	}
	return p;
}

/* Reads the next number of a header, past blanks and comments. Returns -1 if there is none. */
static int header_number(FILE *f)
{
	int c = getc(f), n = 0;
	while (isspace(c) || c == '#') {
		if (c == '#')
			while (c != '\n' && c != EOF)
				c = getc(f);
		c = getc(f);
	}
	if (!isdigit(c))
		return -1;
	for (; isdigit(c) && n < 1000000; c = getc(f))
		n = n * 10 + (c - '0');
	return n; /* the one blank behind the number is eaten, too */
}

static int load(struct image *im, FILE *f, const char **why)
{
	int p = getc(f), kind = getc(f), channels = kind == '6' ? 3 : 1;
	if (p != 'P' || (kind != '5' && kind != '6')) {
		*why = "neither PGM nor PPM";
		return 0;
	}
	im->width = header_number(f);
	im->height = header_number(f);
	if (im->width < 1 || im->width > max_side || im->height < 1 || im->height > max_side) {
		*why = "impossible size";
		return 0;
	}
	if (header_number(f) != 255) {
		*why = "not 8 bits deep";
		return 0;
	}
	unsigned char *row = allocate((size_t)im->width * channels);
	im->pixels = allocate((size_t)im->width * im->height);
	for (int y = 0; y < im->height; y++) {
		unsigned char *to = im->pixels + (size_t)y * im->width;
		if (fread(row, channels, im->width, f) != (size_t)im->width) {
			*why = "file is cut off";
			free(row);
			image_free(im);
			return 0;
		}
		for (int x = 0; x < im->width; x++) {
			const unsigned char *c = row + x * channels;
			to[x] = channels == 1 ? c[0] : (77 * c[0] + 151 * c[1] + 28 * c[2]) >> 8;
		}
	}
	free(row);
	return 1;
}

int image_load(struct image *im, const char *path, const char **why)
{
	FILE *f = fopen(path, "rb");
	im->pixels = NULL;
	if (!f) {
		*why = "cannot be opened";
		return 0;
	}
	int ok = load(im, f, why);
	fclose(f);
	return ok;
}

void image_scale(struct image *to, const struct image *from, int width, int height)
{
	to->width = width;
	to->height = height;
	to->pixels = allocate((size_t)width * height);
	for (int y = 0; y < height; y++) {
		/* positions in 1/256 of a pixel, measured between the centres of pixels */
		int v = (2ll * y + 1) * from->height * 128 / height - 128;
		v = v < 0 ? 0 : v > (from->height - 1) * 256 ? (from->height - 1) * 256 : v;
		const unsigned char *row = from->pixels + (size_t)(v >> 8) * from->width;
		const unsigned char *below = row + (v >> 8 < from->height - 1 ? from->width : 0);
		for (int x = 0; x < width; x++) {
			int u = (2ll * x + 1) * from->width * 128 / width - 128;
			u = u < 0 ? 0 : u > (from->width - 1) * 256 ? (from->width - 1) * 256 : u;
			int i = u >> 8, j = i < from->width - 1 ? i + 1 : i, a = u & 255, b = v & 255;
			int top = row[i] * (256 - a) + row[j] * a;
			int bottom = below[i] * (256 - a) + below[j] * a;
			to->pixels[(size_t)y * width + x] = (top * (256 - b) + bottom * b + 32768) >> 16;
		}
	}
}

void image_free(struct image *im)
{
	free(im->pixels);
	im->pixels = NULL;
}
