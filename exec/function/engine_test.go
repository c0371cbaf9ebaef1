package function_test

import (
	"context"

	"github.com/kilnbuild/kiln/exec/docker"
	"github.com/kilnbuild/kiln/exec/function"
)

func init() {
	function.ConnectForTests(func() (function.Images, error) { return docker.Images(context.Background(), "", "") })
}
