package credential

import (
	"strconv"
	"sync"
	"testing"
)

// What leaves a set is what was put into it, also while the set is made smaller and
// larger again.
func TestWorkingSetEndsWhatItHad(t *testing.T) {
	var mu sync.Mutex
	ended := make(map[*int]int)
	set, err := NewWorkingSet(1000, func(n *int) {
		mu.Lock()
		defer mu.Unlock()
		ended[n]++
	})
	if err != nil {
		t.Fatal(err)
	}
	var putters sync.WaitGroup
	for w := range 4 {
		putters.Go(func() {
			for i := range 3000 {
				set.Resize(int64([]int{1000, 50, 3, 1000, 1}[i/100%5]))
				set.Put(strconv.Itoa((i*7+w)%200), new(i))
			}
		})
	}
	putters.Wait()
	set.Close()
	mu.Lock()
	defer mu.Unlock()
	if n := ended[nil]; n != 0 {
		t.Errorf("nothing has left the set %d times", n)
	}
	if n := len(ended); n != 4*3000 {
		t.Errorf("%d have left the set", n)
	}
}
