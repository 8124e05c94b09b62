package clonecloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// AnalysisVersion is the schema version of what [Analysis.WriteJSON] writes. Version 2 has names in snake_case, and data.
const AnalysisVersion = 2

// Analysis says which functions of a module may move, which would, and why the others may not; and which data of the
// program would leave the device.
type Analysis struct {
	report *analysis.Report
	data   *analysis.Data
}

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
	d := r.Data(m)
	d.ModuleBytes = uint64(len(module))
	return &Analysis{r, d}, nil
}

// Stay is the reason for which the whole module stays on the device, "" if it may move.
func (a *Analysis) Stay() string { return a.report.Stay }

// Candidates are the functions that would be offloaded, by names that [Config.Functions] takes, the most promising first.
func (a *Analysis) Candidates() []string {
	var names []string
	for _, i := range a.report.Candidates {
		name := a.report.Funcs[i].Name
		if name == "" {
			name = fmt.Sprintf("#%d", i)
		}
		names = append(names, name)
	}
	return names
}

// WriteText writes the analysis for people; all adds every function.
func (a *Analysis) WriteText(w io.Writer, all bool) error {
	if err := a.report.WriteText(w, analysis.TextOptions{Functions: all}); err != nil {
		return err
	}
	return a.data.WriteText(w)
}

// WriteJSON writes the analysis for programs; all adds every function.
func (a *Analysis) WriteJSON(w io.Writer, all bool) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Version int `json:"version"`
		*analysis.Summary
		Data *analysis.Data `json:"data"`
	}{AnalysisVersion, a.report.Summary(all), a.data})
}
