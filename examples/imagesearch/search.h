#ifndef SEARCH_H
#define SEARCH_H

#include "image.h"

/* Where a picture is most like the one that is looked for. */
struct match {
	int x, y, width, height;
	double score; /* normalised cross-correlation: 1 is equal but for brightness and contrast, 0 is unrelated */
};

/* Looks for needle in photo at every place and in several sizes. */
struct match search_photo(const struct image *photo, const struct image *needle);

#endif
