package reconcile

import (
	"slices"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
)

// foresee tells which conflicts steps will meet if nothing changes any more: it carries them out on a shadow of the directory.
func foresee(top disk.Folder, h plan.Header, s *plan.Steps) ([]Conflict, error) {
	shadow, staging, put, err := disk.NewShadow(top)
	if err != nil {
		return nil, err
	}
	dry := *s
	dry.Made = slices.Clone(s.Made)
	for i := range dry.Made {
		dry.Made[i].Num = put(plan.NewName(i), dry.Made[i].Kind)
	}
	x := &executor{Header: h, Steps: &dry, Progress: plan.NewProgress(), log: func(string, ...any) {}, dry: true, top: shadow, staging: staging}
	x.init()
	for _, phase := range []func() error{x.writeAll, x.displaceAll, x.placeAll} {
		if err := phase(); err != nil {
			return nil, err
		}
	}
	for i := range x.Displaced {
		if err := x.remove(i); err != nil {
			return nil, err
		}
	}
	return x.Conflicts, nil
}
