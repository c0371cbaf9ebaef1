package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// requestHead is a request up to its input, which is the same in every call.
func requestHead(in, out *jsonschema.Schema) []byte {
	var head bytes.Buffer
	head.WriteByte('{')
	for _, s := range []struct {
		name   string
		schema *jsonschema.Schema
	}{{"schema_in", in}, {"schema_out", out}} {
		if s.schema != nil {
			fmt.Fprintf(&head, "%q:%s,", s.name, s.schema.Source())
		}
	}
	head.WriteString(`"input":`)
	return head.Bytes()
}

// request returns one line: the head, the input and the end.
func request(head []byte, input any) ([]byte, error) {
	var line bytes.Buffer
	line.Write(head)
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(input); err != nil {
		return nil, invalid(Input, err)
	}
	text := line.Bytes()
	text[len(text)-1] = '}' // where Encode ended the line
	return append(text, '\n'), nil
}

// A response is what a function writes on stdout: once, and nothing else.
type response struct {
	OK     *bool           `json:"ok"`
	Output json.RawMessage `json:"output"`
	Error  *FunctionError  `json:"error"`
}

// codeMemory is the code of an error by which a runner says that memory was refused.
const codeMemory = "memory"

// Codes by which a runner says that a value broke its schema inside.
const (
	codeInput  = "input_invalid"
	codeOutput = "output_invalid"
)

const previewSize = 200

const noResponse = "it ended without a response"

func protocolError(what string, text []byte) *ProtocolError {
	preview := text[:min(len(text), previewSize)]
	return &ProtocolError{What: what, Preview: string(bytes.ToValidUTF8(preview, []byte("\uFFFD")))}
}

// parse reads what a function wrote as one response.
func parse(text []byte) (*response, *ProtocolError) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, protocolError(noResponse, nil)
	}
	if !utf8.Valid(text) {
		return nil, protocolError("its response is not valid UTF-8", text)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var r response
	err := d.Decode(&r)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, protocolError("its response ends in the middle", text)
	case err != nil:
		return nil, protocolError("what it wrote on stdout is no response (logs belong on stderr)", text)
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) > 0 {
		var second response
		if json.Unmarshal(rest, &second) == nil && second.OK != nil {
			return nil, protocolError("it wrote two responses", rest)
		}
		return nil, protocolError("after its response it wrote more (logs belong on stderr)", rest)
	}
	switch {
	case r.OK == nil:
		return nil, protocolError(`its response has no "ok"`, text)
	case *r.OK && r.Output == nil:
		return nil, protocolError(`its response is ok and has no "output"`, text)
	case !*r.OK && (r.Error == nil || r.Error.Message == ""):
		return nil, protocolError(`its response is not ok and has no "error" with a "message"`, text)
	}
	return &r, nil
}

// decode makes a B of an output. What a schema says of it is checked first: B may
// not hold all that is in it.
func decode[B any](text json.RawMessage, schema *jsonschema.Schema) (B, error) {
	var out B
	whole, isAny := any(&out).(*any)
	if schema != nil || isAny {
		v, err := jsonschema.Decode(text)
		if err != nil {
			return out, protocolError("its output: "+err.Error(), text)
		}
		if schema != nil {
			if err := schema.ValidateDecoded(v); err != nil {
				return out, invalid(Output, err)
			}
		}
		if isAny {
			*whole = v
			return out, nil
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // in parts of B that are of type any
	if err := d.Decode(&out); err != nil {
		var none B
		return none, invalid(Output, err)
	}
	return out, nil
}

// reported turns an error in a response into the one for the caller.
func reported(e *FunctionError, limit int64, logs []string) error {
	var place struct{ Pointer, Message string }
	switch e.Code {
	case codeMemory:
		return &MemoryError{Limit: limit, Logs: logs}
	case codeInput, codeOutput:
		side := Input
		if e.Code == codeOutput {
			side = Output
		}
		err := &InvalidError{Side: side, Err: errors.New(e.Message)}
		if json.Unmarshal(e.Details, &place) == nil && place.Message != "" {
			err.Violations = []Violation{{Pointer: place.Pointer, Message: place.Message}}
		}
		return err
	}
	e.Logs = logs
	return e
}
