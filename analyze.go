package clonecloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// AnalysisVersion is the schema version of what [Analysis.WriteJSON] writes.
const AnalysisVersion = 1

// Analysis says which functions of a module may move, which would, and why the others may not.
type Analysis struct{ report *analysis.Report }

// Analyze analyses a module in the binary format. keepLocal names functions as [Config.KeepLocal] does.
func Analyze(module []byte, keepLocal []string) (*Analysis, error) {
	m, err := wasm.Decode(module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	r, err := analysis.Analyze(m, analysis.Options{Alone: true, KeepLocal: keepLocal})
	switch {
	case errors.Is(err, analysis.ErrNoFunction):
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	return &Analysis{r}, nil
}

// Stay is the reason for which the whole module stays on the device, "" if it may move.
func (a *Analysis) Stay() string { return a.report.Stay }

// WriteText writes the analysis for people; all adds every function.
func (a *Analysis) WriteText(w io.Writer, all bool) error {
	return a.report.WriteText(w, analysis.TextOptions{Functions: all})
}

// WriteJSON writes the analysis for programs; all adds every function.
func (a *Analysis) WriteJSON(w io.Writer, all bool) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Version int `json:"version"`
		*analysis.Summary
	}{AnalysisVersion, a.report.Summary(all)})
}
