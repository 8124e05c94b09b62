#ifndef IMAGE_H
#define IMAGE_H

/* A grey picture: one byte a pixel, row by row. */
struct image {
	int width, height;
	unsigned char *pixels;
};

/* Reads a binary PGM or PPM file; colours become grey. Returns 0 and the reason in *why if that fails. */
int image_load(struct image *im, const char *path, const char **why);

/* Makes a copy of another size, by linear interpolation. */
void image_scale(struct image *to, const struct image *from, int width, int height);

void image_free(struct image *im);

#endif
