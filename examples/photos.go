package examples

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

const (
	photoWidth, photoHeight = 128, 96
	needleSide              = 24
)

// plantedSides are the sizes of the needle that the program tries.
var plantedSides = []int{needleSide, needleSide * 80 / 100, needleSide * 64 / 100}

// generatePhotos makes a needle and a folder of photos, every other one with the needle in it, smaller, brighter or darker, and with grain.
func generatePhotos(dir string, size Size, seed uint64) ([]string, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	count := []int{2, 10, 100}[size]
	needle := clouds(needleSide, needleSide, 7, r)
	if err := write(dir, "needle.pgm", needle.pgm()); err != nil {
		return nil, err
	}
	var expected []string
	for i := range count {
		photo := clouds(photoWidth, photoHeight, 5, r)
		photo.add(clouds(photoWidth, photoHeight, 23, r), 3)
		name := fmt.Sprintf("photo-%03d.pgm", i)
		if i%3 == 2 {
			name = fmt.Sprintf("photo-%03d.ppm", i)
		}
		if i%2 == 0 {
			side := plantedSides[r.IntN(len(plantedSides))]
			x, y := r.IntN(photoWidth-side), r.IntN(photoHeight-side)
			photo.plant(needle.scale(side, side), x, y, 9+r.IntN(7), r.IntN(60))
			expected = append(expected, fmt.Sprintf("%s: found at %d,%d size %dx%d", name, x, y, side, side))
		} else {
			expected = append(expected, name+": not found")
		}
		photo.grain(5, r)
		data := photo.pgm()
		if i%3 == 2 {
			data = photo.ppm()
		}
		if err := write(dir, "photos/"+name, data); err != nil {
			return nil, err
		}
	}
	return append(expected, fmt.Sprintf("found in %d of %d photos", (count+1)/2, count)), nil
}

// picture is grey, one byte a pixel. All arithmetic is on integers: floating point would differ between instruction sets.
type picture struct {
	w, h int
	pix  []byte
}

// clouds is a picture of random soft spots, n in a row.
func clouds(w, h, n int, r *rand.Rand) picture {
	coarse := picture{n, n, make([]byte, n*n)}
	for i := range coarse.pix {
		coarse.pix[i] = byte(10 + r.IntN(230))
	}
	return coarse.scale(w, h)
}

// scale interpolates in 1/256 of a pixel.
func (p picture) scale(w, h int) picture {
	to := picture{w, h, make([]byte, w*h)}
	for y := range h {
		v := min(max((2*y+1)*p.h*128/h-128, 0), (p.h-1)*256)
		for x := range w {
			u := min(max((2*x+1)*p.w*128/w-128, 0), (p.w-1)*256)
			i, j, a, b := u/256, v/256, u%256, v%256
			at := func(i, j int) int { return int(p.pix[min(j, p.h-1)*p.w+min(i, p.w-1)]) }
			top := at(i, j)*(256-a) + at(i+1, j)*a
			bottom := at(i, j+1)*(256-a) + at(i+1, j+1)*a
			to.pix[y*w+x] = byte((top*(256-b) + bottom*b + 1<<15) >> 16)
		}
	}
	return to
}

// add mixes in one part of another picture to so many of this one.
func (p picture) add(other picture, parts int) {
	for i := range p.pix {
		p.pix[i] = byte((parts*int(p.pix[i]) + int(other.pix[i])) / (parts + 1))
	}
}

// plant puts another picture in place, with contrast/16 of its contrast and a lift in brightness.
func (p picture) plant(other picture, x, y, contrast, lift int) {
	for j := range other.h {
		for i := range other.w {
			p.pix[(y+j)*p.w+x+i] = byte(min(int(other.pix[j*other.w+i])*contrast/16+lift, 250))
		}
	}
}

func (p picture) grain(n int, r *rand.Rand) {
	for i := range p.pix {
		p.pix[i] = byte(min(int(p.pix[i])+r.IntN(n), 255))
	}
}

func (p picture) pgm() []byte {
	return append(fmt.Appendf(nil, "P5\n# made up\n%d %d\n255\n", p.w, p.h), p.pix...)
}

// ppm tints the picture so that its grey stays nearly the same.
func (p picture) ppm() []byte {
	b := bytes.NewBuffer(fmt.Appendf(nil, "P6 %d %d 255\n", p.w, p.h))
	for _, v := range p.pix {
		b.Write([]byte{byte(min(int(v)+6, 255)), byte(max(int(v)-2, 0)), byte(max(int(v)-6, 0))})
	}
	return b.Bytes()
}
